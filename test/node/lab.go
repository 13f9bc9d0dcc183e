package node

import (
	"context"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	internalapi "k8s.io/cri-api/pkg/apis"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/gate"
	"slipway/test/image"
	"slipway/test/leak"
	"slipway/test/machine"
)

// Lab is the private machine that the tests of a package run on, and the
// registry of test images on its loopback.
type Lab struct {
	Machine  *machine.Machine
	Registry string   // host:port
	Base     v1.Image // what is served as Busybox
	nodes    atomic.Uint32
}

// Run calls inside in a lab; it is the whole of a TestMain.
func Run(inside func(*Lab) int) int {
	return machine.Run(func(ctx context.Context, m *machine.Machine) int {
		images, err := image.Build(ctx, image.Options{})
		if err != nil {
			fmt.Fprintln(os.Stderr, "test images:", err)
			return 1
		}
		handler, err := image.Handler(images)
		if err != nil {
			fmt.Fprintln(os.Stderr, "test images:", err)
			return 1
		}
		server := httptest.NewServer(handler)
		defer server.Close()
		return inside(&Lab{Machine: m, Registry: strings.TrimPrefix(server.URL, "http://"), Base: images[0].Image})
	})
}

// Node is a machine with a daemon on it.
type Node struct {
	T      *testing.T
	Setup  *machine.Setup
	Daemon *machine.Daemon
	Clients
	Logs string     // log directory of pods
	Gate *gate.Gate // before the daemon's system calls, if NewGated
}

// Clients are the kubelet's clients, connected to one life of the daemon.
type Clients struct {
	Runtime internalapi.RuntimeService
	Images  internalapi.ImageManagerService
}

// New starts a daemon with Busybox pulled. When the test ends, all pods are
// removed and nothing may be left, first with the daemon idle, then without it.
func (l *Lab) New(t *testing.T) *Node {
	t.Helper()
	return l.start(t, false)
}

// NewGated is New with a gate before the daemon's system calls.
func (l *Lab) NewGated(t *testing.T) *Node {
	t.Helper()
	return l.start(t, true)
}

func (l *Lab) start(t *testing.T, gated bool) *Node {
	t.Helper()
	i := uint8(l.nodes.Add(1))
	setup, err := l.Machine.NewSetup(fmt.Sprintf("node%d", i), i)
	must(t, err)
	must(t, image.WriteHosts(setup.Certs, l.Registry, image.Hosts()...))
	n := &Node{T: t, Setup: setup, Logs: filepath.Join(setup.Dir, "logs")}
	must(t, os.MkdirAll(n.Logs, 0o755))
	if gated {
		n.Gate, err = gate.New(setup.Dir)
		must(t, err)
		t.Cleanup(func() { must(t, n.Gate.Close()) })
	}

	scope := leak.Scope{
		Cgroups: machine.Hierarchies(l.Machine.Cgroup),
		Ignore:  func(finding string) bool { return ofTheNetwork(finding, setup.Bridge) },
	}
	outside := n.look(scope)
	n.Start()
	if _, err := n.Images.PullImage(t.Context(), &cri.ImageSpec{Image: Busybox}, nil, nil); err != nil {
		t.Fatalf("pull: %v\n%s", err, machine.Tail(setup.Log, 20))
	}
	n.warmUp()
	scope.Dirs = []string{filepath.Join(setup.Root, "pods"), filepath.Join(setup.Root, "containers"), filepath.Join(setup.Root, "removing"), filepath.Join(setup.State, "pods"), filepath.Join(setup.State, "io"), setup.IPAM}
	idling := scope
	idling.Ignore = func(finding string) bool { // after a restart they are others
		return scope.Ignore(finding) || ofTheDaemon(finding) || n.ofTheKeeper(finding)
	}
	idle := n.look(idling)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("daemon:\n%s", machine.Tail(setup.Log, 40))
		}
		n.RemoveAll()
		n.nothingLeft("with the daemon idle", idle, idling)
		n.forget()
		if err := n.Daemon.Stop(); err != nil {
			t.Error(err)
		}
		scope.Dirs = nil
		n.nothingLeft("after the daemon's end", outside, scope)
	})
	return n
}

// warmUp runs one pod, so that what stays for the next one (the bridge, rules
// of the plugins, the parent cgroup) is there when the oracle looks first.
func (n *Node) warmUp() {
	n.T.Helper()
	before := n.links()
	pod := n.Pod("warm-up")
	n.RemovePod(pod)
	// The kernel takes a pod's link away some time after its namespace.
	Until(n.T, "the warm-up's link is gone", func() bool {
		return !slices.ContainsFunc(n.links(), func(l string) bool { return strings.HasPrefix(l, "veth") && !slices.Contains(before, l) })
	})
}

// links are the names of the network devices here.
func (n *Node) links() []string {
	n.T.Helper()
	all, err := net.Interfaces()
	must(n.T, err)
	var names []string
	for _, l := range all {
		names = append(names, l.Name)
	}
	return names
}

func (n *Node) look(scope leak.Scope) leak.Snapshot {
	n.T.Helper()
	s, err := leak.Take(context.Background(), scope)
	must(n.T, err)
	return s
}

func (n *Node) nothingLeft(when string, before leak.Snapshot, scope leak.Scope) {
	n.T.Helper()
	left, err := before.Settled(context.Background(), scope, 30*time.Second)
	must(n.T, err)
	for _, finding := range left {
		n.T.Errorf("left %s: %s", when, finding)
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

// ofTheKeeper: the keeper's mount namespace, which has nothing in it.
func (n *Node) ofTheKeeper(finding string) bool {
	if !strings.HasPrefix(finding, "namespace: mnt:") {
		return false
	}
	pid, ok := n.Keeper()
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	return ok && err == nil && finding == "namespace: "+own
}
