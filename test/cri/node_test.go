package cri

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	internalapi "k8s.io/cri-api/pkg/apis"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	remote "k8s.io/cri-client/pkg"

	"slipway/test/image"
	"slipway/test/leak"
	"slipway/test/machine"
)

const busybox = "registry.k8s.io/e2e-test-images/busybox:1.29-2"

// The private machine that all tests of this package run on, and the registry
// of test images on its loopback.
var (
	host     *machine.Machine
	registry string
	base     v1.Image // the busybox that is served as busybox
)

func TestMain(m *testing.M) {
	os.Exit(machine.Run(func(ctx context.Context, mc *machine.Machine) int {
		images, err := image.Build(ctx, image.Options{})
		if err == nil {
			handler, herr := image.Handler(images)
			err = herr
			if err == nil {
				server := httptest.NewServer(handler)
				defer server.Close()
				host, registry, base = mc, strings.TrimPrefix(server.URL, "http://"), images[0].Image
				return m.Run()
			}
		}
		fmt.Fprintln(os.Stderr, "test images:", err)
		return 1
	}))
}

// node is a machine with a daemon on it.
type node struct {
	t      *testing.T
	setup  *machine.Setup
	daemon *machine.Daemon
	rt     internalapi.RuntimeService
	im     internalapi.ImageManagerService
	logs   string // log directory of pods
}

var nodes struct {
	sync.Mutex
	n uint8
}

// newNode starts a daemon with busybox pulled. When the test ends, all pods are
// removed and nothing may be left, first with the daemon idle, then without it.
func newNode(t *testing.T) *node {
	t.Helper()
	nodes.Lock()
	nodes.n++
	i := nodes.n
	nodes.Unlock()
	setup, err := host.NewSetup(fmt.Sprintf("node%d", i), i)
	must(t, err)
	must(t, image.WriteHosts(setup.Certs, registry, image.Hosts()...))
	n := &node{t: t, setup: setup, logs: filepath.Join(setup.Dir, "logs")}
	must(t, os.MkdirAll(n.logs, 0o755))

	scope := leak.Scope{
		Cgroups: machine.Hierarchies(host.Cgroup),
		Ignore:  func(finding string) bool { return ofTheNetwork(finding, setup.Bridge) },
	}
	outside := n.look(scope)
	n.start()
	if _, err := n.im.PullImage(t.Context(), &cri.ImageSpec{Image: busybox}, nil, nil); err != nil {
		t.Fatalf("pull: %v\n%s", err, machine.Tail(setup.Log, 20))
	}
	n.warmUp()
	scope.Dirs = []string{filepath.Join(setup.Root, "pods"), filepath.Join(setup.Root, "containers"), filepath.Join(setup.Root, "removing"), filepath.Join(setup.State, "pods"), filepath.Join(setup.State, "io"), setup.IPAM}
	idling := scope
	idling.Ignore = func(finding string) bool { // after a restart they are others
		return scope.Ignore(finding) || ofTheDaemon(finding)
	}
	idle := n.look(idling)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("daemon:\n%s", machine.Tail(setup.Log, 40))
		}
		n.removeAll()
		n.nothingLeft("with the daemon idle", idle, idling)
		n.forget()
		if err := n.daemon.Stop(); err != nil {
			t.Error(err)
		}
		scope.Dirs = nil
		n.nothingLeft("after the daemon's end", outside, scope)
	})
	return n
}

// warmUp runs one pod, so that what stays for the next one (the bridge, rules
// of the plugins, the parent cgroup) is there when the oracle looks first.
func (n *node) warmUp() {
	n.t.Helper()
	pod := n.pod("warm-up")
	n.removePod(pod)
}

func (n *node) look(scope leak.Scope) leak.Snapshot {
	n.t.Helper()
	s, err := leak.Take(context.Background(), scope)
	must(n.t, err)
	return s
}

func (n *node) nothingLeft(when string, before leak.Snapshot, scope leak.Scope) {
	n.t.Helper()
	left, err := before.Settled(context.Background(), scope, 15*time.Second)
	must(n.t, err)
	for _, finding := range left {
		n.t.Errorf("left %s: %s", when, finding)
	}
}

// ofTheNetwork: the plugins leave the bridge and their chains, as they do on
// every node.
func ofTheNetwork(finding, bridge string) bool {
	return strings.HasPrefix(finding, "link: "+bridge) || strings.HasPrefix(finding, "firewall") ||
		strings.HasPrefix(finding, "address: "+bridge) || strings.HasPrefix(finding, "sysctl: ") && strings.Contains(finding, "ip_forward")
}

func ofTheDaemon(finding string) bool {
	return strings.HasPrefix(finding, "process: ") && (strings.Contains(finding, "/slipway serve ") || strings.Contains(finding, " slipway-keeper "))
}

// start starts the daemon and connects to it.
func (n *node) start() {
	n.t.Helper()
	args, err := n.setup.Slipway()
	must(n.t, err)
	n.daemon, err = n.setup.Start(context.Background(), args, nil)
	must(n.t, err)
	n.connect()
}

func (n *node) connect() {
	n.t.Helper()
	endpoint := "unix://" + n.setup.Socket
	ctx := context.Background()
	var err error
	n.rt, err = remote.NewRemoteRuntimeServiceBuilder().WithEndpoint(endpoint).WithConnectionTimeout(time.Minute).Build(ctx)
	must(n.t, err)
	n.im, err = remote.NewRemoteImageServiceBuilder().WithEndpoint(endpoint).WithConnectionTimeout(time.Minute).Build(ctx)
	must(n.t, err)
}

// forget makes nothing that the daemon keeps for images count as left.
func (n *node) forget() {
	images, err := n.im.ListImages(context.Background(), nil)
	must(n.t, err)
	for _, img := range images {
		must(n.t, n.im.RemoveImage(context.Background(), &cri.ImageSpec{Image: img.Id}))
	}
}

func (n *node) removeAll() {
	n.t.Helper()
	pods, err := n.rt.ListPodSandbox(context.Background(), nil)
	if err != nil {
		n.t.Errorf("list pods: %v", err)
	}
	for _, p := range pods {
		n.removePod(p.Id)
	}
}

func (n *node) removePod(id string) {
	n.t.Helper()
	if err := n.rt.StopPodSandbox(context.Background(), id); err != nil {
		n.t.Errorf("stop pod: %v", err)
	}
	if err := n.rt.RemovePodSandbox(context.Background(), id); err != nil {
		n.t.Errorf("remove pod: %v", err)
	}
}

// keeperPid finds the keeper of this node's daemon by its command line.
func (n *node) keeperPid() int {
	n.t.Helper()
	for _, pid := range processes(n.t) {
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && bytes.Contains(cmdline, []byte("slipway-keeper")) && belongsTo(pid, n.setup.State) {
			return pid
		}
	}
	n.t.Fatal("no keeper runs")
	return 0
}

// podConfig is a small pod's; change it before use.
func (n *node) podConfig(name string) *cri.PodSandboxConfig {
	return &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Namespace: "test", Uid: name + "-uid"},
		Hostname:     name,
		LogDirectory: filepath.Join(n.logs, name),
		Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER},
		}},
	}
}

// pod runs a small pod.
func (n *node) pod(name string) string { return n.runPod(n.podConfig(name)) }

func (n *node) runPod(cfg *cri.PodSandboxConfig) string {
	n.t.Helper()
	id, err := n.rt.RunPodSandbox(n.t.Context(), cfg, "")
	if err != nil {
		n.t.Fatalf("run pod: %v", err)
	}
	return id
}

// containerConfig is a shell script's; change it before use.
func containerConfig(name, script string) *cri.ContainerConfig {
	return &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: name},
		Image:    &cri.ImageSpec{Image: busybox},
		Command:  []string{"sh", "-c", script},
		LogPath:  name + ".log",
		Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER},
		}},
	}
}

// run creates and starts a container.
func (n *node) run(pod string, podCfg *cri.PodSandboxConfig, cfg *cri.ContainerConfig) string {
	n.t.Helper()
	id, err := n.rt.CreateContainer(n.t.Context(), pod, cfg, podCfg)
	if err != nil {
		n.t.Fatalf("create container: %v", err)
	}
	if err := n.rt.StartContainer(n.t.Context(), id); err != nil {
		n.t.Fatalf("start container: %v", err)
	}
	return id
}

func (n *node) status(id string) *cri.ContainerStatus {
	n.t.Helper()
	r, err := n.rt.ContainerStatus(context.Background(), id, false)
	if err != nil {
		n.t.Fatalf("container status: %v", err)
	}
	return r.Status
}

// waitState waits for a container to be in a state.
func (n *node) waitState(id string, want cri.ContainerState) *cri.ContainerStatus {
	n.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		s := n.status(id)
		if s.State == want {
			return s
		}
		if time.Now().After(end) {
			n.t.Fatalf("container is %s, want %s: %+v", s.State, want, s)
		}
	}
}

// exec runs a command and returns what it printed; it must succeed.
func (n *node) exec(id string, cmd ...string) string {
	n.t.Helper()
	out, errs, err := n.rt.ExecSync(n.t.Context(), id, cmd, 20*time.Second)
	if err != nil {
		n.t.Fatalf("exec %q: %v (%s)", cmd, err, errs)
	}
	return strings.TrimSpace(string(out))
}

// output runs a script to its end in a pod of its own and returns what it logged.
func (n *node) output(name, script string, change func(*cri.PodSandboxConfig, *cri.ContainerConfig)) (string, *cri.ContainerStatus) {
	n.t.Helper()
	podCfg, cfg := n.podConfig(name), containerConfig(name, script)
	if change != nil {
		change(podCfg, cfg)
	}
	pod := n.runPod(podCfg)
	id := n.run(pod, podCfg, cfg)
	status := n.waitState(id, cri.ContainerState_CONTAINER_EXITED)
	return n.log(status), status
}

// log returns the text of a container's log, without what the format adds.
func (n *node) log(s *cri.ContainerStatus) string {
	n.t.Helper()
	raw, err := os.ReadFile(s.LogPath)
	must(n.t, err)
	var text strings.Builder
	for line := range strings.Lines(string(raw)) {
		fields := strings.SplitN(line, " ", 4)
		if len(fields) != 4 {
			n.t.Fatalf("not a line of the CRI log: %q", line)
		}
		if fields[2] == "P" {
			text.WriteString(strings.TrimSuffix(fields[3], "\n"))
		} else {
			text.WriteString(fields[3])
		}
	}
	return text.String()
}

func processes(t *testing.T) []int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	must(t, err)
	var pids []int
	for _, d := range dirs {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(d), "%d", &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// belongsTo says whether a keeper listens on the socket in this state directory.
func belongsTo(pid int, state string) bool {
	unix, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return false
	}
	var inode string
	for line := range strings.Lines(string(unix)) {
		f := strings.Fields(line)
		if len(f) == 8 && f[7] == filepath.Join(state, "keeper.sock") && f[5] == "01" {
			inode = "socket:[" + f[6] + "]"
		}
	}
	for line := range strings.Lines(string(unix)) {
		f := strings.Fields(line)
		if inode == "" && len(f) == 8 && f[7] == filepath.Join(state, "keeper.sock") {
			inode = "socket:[" + f[6] + "]"
		}
	}
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); to == inode {
			return true
		}
	}
	return false
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
