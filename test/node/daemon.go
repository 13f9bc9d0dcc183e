package node

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	remote "k8s.io/cri-client/pkg"
)

// Start starts the daemon and connects to it.
func (n *Node) Start() {
	n.T.Helper()
	args, err := n.Setup.Slipway()
	must(n.T, err)
	var env []string
	if n.Gate != nil {
		args, env, err = n.Gate.Command(args)
		must(n.T, err)
	}
	d, err := n.Setup.Start(context.Background(), args, env)
	must(n.T, err)
	n.Daemon = d
	n.Connect()
}

// StartCut starts a daemon that may be killed before it listens.
func (n *Node) StartCut() {
	n.T.Helper()
	args, err := n.Setup.Slipway()
	must(n.T, err)
	args, env, err := n.Gate.Command(args)
	must(n.T, err)
	if d, err := n.Setup.Start(context.Background(), args, env); err == nil {
		n.Daemon = d
	}
}

// Connect makes new clients, as after a start of the daemon.
func (n *Node) Connect() {
	n.T.Helper()
	endpoint := "unix://" + n.Setup.Socket
	ctx := context.Background()
	rt, err := remote.NewRemoteRuntimeServiceBuilder().WithEndpoint(endpoint).WithConnectionTimeout(time.Minute).Build(ctx)
	for end := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		// A child that the daemon before had just forked may hold its socket.
		rt, err = remote.NewRemoteRuntimeServiceBuilder().WithEndpoint(endpoint).WithConnectionTimeout(time.Minute).Build(ctx)
	}
	must(n.T, err)
	im, err := remote.NewRemoteImageServiceBuilder().WithEndpoint(endpoint).WithConnectionTimeout(time.Minute).Build(ctx)
	must(n.T, err)
	n.Clients = Clients{Runtime: rt, Images: im}
}

// forget makes nothing that the daemon keeps for images count as left.
func (n *Node) forget() {
	images, err := n.Images.ListImages(context.Background(), nil)
	must(n.T, err)
	for _, img := range images {
		must(n.T, n.Images.RemoveImage(context.Background(), &cri.ImageSpec{Image: img.Id}))
	}
}

// RemoveAll removes every pod of the node.
func (n *Node) RemoveAll() {
	n.T.Helper()
	pods, err := n.Runtime.ListPodSandbox(context.Background(), nil)
	if err != nil {
		n.T.Errorf("list pods: %v", err)
	}
	for _, p := range pods {
		n.RemovePod(p.Id)
	}
}

// RemovePod stops and removes a pod.
func (n *Node) RemovePod(id string) {
	n.T.Helper()
	if err := n.Runtime.StopPodSandbox(context.Background(), id); err != nil {
		n.T.Errorf("stop pod: %v", err)
	}
	if err := n.Runtime.RemovePodSandbox(context.Background(), id); err != nil {
		n.T.Errorf("remove pod: %v", err)
	}
}

// KeeperPid is the keeper's process id; without a keeper the test fails.
func (n *Node) KeeperPid() int {
	n.T.Helper()
	pid, ok := n.Keeper()
	if !ok {
		n.T.Fatal("no keeper runs")
	}
	return pid
}

// Keeper finds the keeper of this node's daemon by its socket.
func (n *Node) Keeper() (pid int, ok bool) {
	n.T.Helper()
	for _, pid := range processes(n.T) {
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && bytes.Contains(cmdline, []byte("slipway-keeper")) && belongsTo(pid, n.Setup.State) {
			return pid, true
		}
	}
	return 0, false
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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
