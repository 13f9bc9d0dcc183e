package cri

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/node"
)

func TestTheRuntimeIsReady(t *testing.T) {
	n := newNode(t)
	v, err := n.Runtime.Version(t.Context(), "0.1.0")
	must(t, err)
	if v.Version != "0.1.0" || v.RuntimeName != "slipway" || v.RuntimeApiVersion != "v1" {
		t.Errorf("version: %v", v)
	}
	s, err := n.Runtime.Status(t.Context(), true)
	must(t, err)
	for _, c := range s.Status.Conditions {
		if !c.Status {
			t.Errorf("condition %s is false: %s", c.Type, c.Message)
		}
	}
	if !strings.Contains(s.Info["config"], "sandboxImage") {
		t.Errorf(`verbose status has no "sandboxImage" in its config: %q`, s.Info["config"])
	}
	c, err := n.Runtime.RuntimeConfig(t.Context())
	must(t, err)
	if c.GetLinux().GetCgroupDriver() != cri.CgroupDriver_CGROUPFS {
		t.Errorf("cgroup driver %v", c)
	}
}

func TestPodLife(t *testing.T) {
	n := newNode(t)
	cfg := n.PodConfig("life")
	cfg.Labels, cfg.Annotations = map[string]string{"l": "1"}, map[string]string{"a": "x\ny"}
	id := n.RunPod(cfg)

	r, err := n.Runtime.PodSandboxStatus(t.Context(), id, true)
	must(t, err)
	s := r.Status
	if s.State != cri.PodSandboxState_SANDBOX_READY || s.Labels["l"] != "1" || s.Annotations["a"] != "x\ny" || net.ParseIP(s.Network.Ip) == nil {
		t.Errorf("status: %v", s)
	}
	if !strings.Contains(r.Info["info"], "cniResult") {
		t.Errorf("verbose status has no cniResult: %s", r.Info["info"])
	}
	if _, err := os.Stat("/run/netns/slipway-" + id); err != nil {
		t.Errorf("the network namespace is not bound where ip netns looks: %v", err)
	}
	for range 2 { // stopping may be repeated
		must(t, n.Runtime.StopPodSandbox(t.Context(), id))
	}
	if r, err = n.Runtime.PodSandboxStatus(t.Context(), id, false); err != nil || r.Status.State != cri.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("after stop: %v, %v", r, err)
	}
	for range 2 {
		must(t, n.Runtime.RemovePodSandbox(t.Context(), id))
	}
	if _, err := n.Runtime.PodSandboxStatus(t.Context(), id, false); status.Code(err) != codes.NotFound {
		t.Errorf("status of a removed pod: %v, want NotFound", err)
	}
}

// The same request again gets the same pod; another one is told who is there.
func TestARepeatedRunJoins(t *testing.T) {
	n := newNode(t)
	cfg := n.PodConfig("twice")
	first := n.RunPod(cfg)
	if again := n.RunPod(cfg); again != first {
		t.Errorf("second pod %q, want the first, %q", again, first)
	}
	cfg.Hostname = "other"
	if _, err := n.Runtime.RunPodSandbox(t.Context(), cfg, ""); status.Code(err) != codes.AlreadyExists || !strings.Contains(err.Error(), first) {
		t.Errorf("another configuration: %v, want AlreadyExists naming %s", err, first)
	}
}

func TestPodFilesAndNames(t *testing.T) {
	n := newNode(t)
	out, _ := n.Output("names", `hostname; cat /etc/hostname; cat /etc/resolv.conf; mount | grep "on /dev/shm"; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; cat /proc/sys/kernel/shm_rmid_forced`,
		func(p *cri.PodSandboxConfig, _ *cri.ContainerConfig) {
			p.DnsConfig = &cri.DNSConfig{Servers: []string{"10.9.8.7"}, Searches: []string{"a.b"}, Options: []string{"ndots:3"}}
			p.Linux.Sysctls = map[string]string{"kernel.shm_rmid_forced": "1"}
		})
	lines := strings.Split(strings.TrimSpace(out), "\n")
	want := []string{"names", "names", "search a.b", "nameserver 10.9.8.7", "options ndots:3"}
	if len(lines) != 8 || strings.Join(lines[:2], " ") != "names names" {
		t.Fatalf("got\n%s", out)
	}
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("no %q in\n%s", w, out)
		}
	}
	if !strings.Contains(lines[5], "tmpfs") || lines[6] != "0" || lines[7] != "1" {
		t.Errorf("shm and sysctls: %q", lines[5:])
	}
}

func TestContainersOfAPodShareItsNamespaces(t *testing.T) {
	n := newNode(t)
	cfg := n.PodConfig("share")
	pod := n.RunPod(cfg)
	read := "for k in net ipc uts pid mnt cgroup; do readlink /proc/self/ns/$k; done; sleep 1000"
	a, b := n.Run(pod, cfg, node.Container("a", read)), n.Run(pod, cfg, node.Container("b", read))
	names := []string{"net", "ipc", "uts", "pid", "mnt", "cgroup"}
	for i, kind := range names {
		x, y := n.Exec(a, "readlink", "/proc/1/ns/"+kind), n.Exec(b, "readlink", "/proc/1/ns/"+kind)
		if shared := i < 3; (x == y) != shared {
			t.Errorf("%s: %s and %s, shared should be %v", kind, x, y, shared)
		}
		if own, _ := os.Readlink("/proc/self/ns/" + kind); own == x {
			t.Errorf("%s is the host's", kind)
		}
	}
}

func TestSharedPIDNamespace(t *testing.T) {
	n := newNode(t)
	cfg := n.PodConfig("pids")
	cfg.Linux.SecurityContext.NamespaceOptions.Pid = cri.NamespaceMode_POD
	pod := n.RunPod(cfg)
	share := func(name, script string, mode cri.NamespaceMode, target string) string {
		c := node.Container(name, script)
		c.Linux.SecurityContext.NamespaceOptions = &cri.NamespaceOption{Pid: mode, TargetId: target}
		return n.Run(pod, cfg, c)
	}
	a := share("a", "sleep 1001", cri.NamespaceMode_POD, "")
	b := share("b", "sleep 1002", cri.NamespaceMode_POD, "")
	if ps := n.Exec(b, "ps", "-o", "pid,args"); !strings.Contains(ps, "sleep 1001") || !strings.Contains(ps, "sleep 1002") {
		t.Errorf("b does not see both:\n%s", ps)
	}
	// An orphan is reaped by the pod's PID 1.
	n.Exec(a, "sh", "-c", "(sleep 0.1 &) ; exit 0")
	node.Until(t, "the orphan is reaped", func() bool {
		ps := n.Exec(a, "ps", "-o", "stat,args")
		return !strings.Contains(ps, "Z ") && !strings.Contains(ps, "sleep 0.1")
	})
	private := node.Container("target", "sleep 1003")
	target := n.Run(pod, cfg, private)
	d := share("debug", "sleep 1004", cri.NamespaceMode_TARGET, target)
	if ps := n.Exec(d, "ps", "-o", "pid,args"); !strings.Contains(ps, "sleep 1003") || strings.Contains(ps, "sleep 1001") {
		t.Errorf("a container in its target's PID namespace sees\n%s", ps)
	}
	must(t, n.Runtime.StopContainer(t.Context(), b, 0))
	if s := n.Status(a); s.State != cri.ContainerState_CONTAINER_RUNNING {
		t.Errorf("stopping b ended a: %v", s)
	}
}

func TestHostNetworkAndHostPID(t *testing.T) {
	n := newNode(t)
	out, _ := n.Output("host", "readlink /proc/self/ns/net; readlink /proc/self/ns/pid; readlink /proc/self/ns/ipc; hostname",
		func(p *cri.PodSandboxConfig, c *cri.ContainerConfig) {
			p.Hostname = ""
			o := &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_NODE, Ipc: cri.NamespaceMode_NODE}
			p.Linux.SecurityContext.NamespaceOptions, c.Linux.SecurityContext.NamespaceOptions = o, o
		})
	var want []string
	for _, kind := range []string{"net", "pid", "ipc"} {
		ns, err := os.Readlink("/proc/self/ns/" + kind)
		must(t, err)
		want = append(want, ns)
	}
	name, _ := os.Hostname()
	want = append(want, name)
	if got := strings.Fields(out); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got %v, want the host's %v", got, want)
	}
}

func TestHostPorts(t *testing.T) {
	n := newNode(t)
	cfg := n.PodConfig("ports")
	cfg.PortMappings = []*cri.PortMapping{{ContainerPort: 8080, HostPort: 18080, Protocol: cri.Protocol_TCP}}
	pod := n.RunPod(cfg)
	n.Run(pod, cfg, node.Container("web", `while true; do printf 'HTTP/1.0 200 OK\r\n\r\nhello' | nc -l -p 8080; done`))
	for _, addr := range []string{"127.0.0.1:18080", n.PodIP(pod) + ":8080"} {
		if got := n.Get(addr); !strings.Contains(got, "hello") {
			t.Errorf("%s answered %q", addr, got)
		}
	}
}

// A pod whose network cannot be made leaves nothing, and its name is free.
func TestAFailingNetworkLeavesNothing(t *testing.T) {
	n := newNode(t)
	conf := filepath.Join(n.Setup.CNIConf, "10-test.conflist")
	good, err := os.ReadFile(conf)
	must(t, err)
	must(t, os.WriteFile(conf, []byte(strings.Replace(string(good), `"type": "bridge"`, `"type": "no-such-plugin"`, 1)), 0o644))
	cfg := n.PodConfig("nonet")
	deadline := time.Now().Add(time.Minute)
	for {
		id, err := n.Runtime.RunPodSandbox(t.Context(), cfg, "")
		if err != nil {
			if !strings.Contains(err.Error(), "no-such-plugin") {
				t.Errorf("the message does not name the plugin: %v", err)
			}
			break
		}
		n.RemovePod(id) // the new configuration was not seen yet
		if time.Now().After(deadline) {
			t.Fatal("a changed configuration is not taken up")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if pods, err := n.Runtime.ListPodSandbox(t.Context(), nil); err != nil || len(pods) != 0 {
		t.Errorf("left in the list: %v, %v", pods, err)
	}
	must(t, os.WriteFile(conf, good, 0o644))
	for {
		if _, err := n.Runtime.RunPodSandbox(t.Context(), cfg, ""); err == nil {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("after the plugin is back: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
