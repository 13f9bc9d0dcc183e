package cri

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/node"
)

// attachedBy says who attached a pod to the network, as its record has it.
func attachedBy(n *node.Node, pod string) string {
	n.T.Helper()
	data, err := os.ReadFile(filepath.Join(n.Setup.Root, "pods", pod, "net.json"))
	must(n.T, err)
	var r struct {
		Attachment struct {
			Who string `json:"who"`
		} `json:"attachment"`
	}
	must(n.T, json.Unmarshal(data, &r))
	return r.Attachment.Who
}

// web runs a pod with a server on a port of the host.
func web(n *node.Node, name string, port int32) string {
	n.T.Helper()
	cfg := n.PodConfig(name)
	cfg.PortMappings = []*cri.PortMapping{{ContainerPort: 8080, HostPort: port, Protocol: cri.Protocol_TCP}}
	pod := n.RunPod(cfg)
	n.Run(pod, cfg, node.Container("web", `while true; do printf 'HTTP/1.0 200 OK\r\n\r\n`+name+`' | nc -l -p 8080; done`))
	return pod
}

func wantWeb(n *node.Node, pod, name string, port int32) {
	n.T.Helper()
	for _, addr := range []string{fmt.Sprint("127.0.0.1:", port), n.PodIP(pod) + ":8080"} {
		if got := n.Get(addr); !strings.Contains(got, name) {
			n.T.Errorf("%s: %s answered %q", name, addr, got)
		}
	}
}

func taken(n *node.Node) []string {
	files, _ := filepath.Glob(n.Setup.IPAM + "/test/10.*")
	for i, f := range files {
		files[i] = filepath.Base(f)
	}
	return files
}

// A daemon attaches pods natively or by plugins, as it is told; each pod is
// detached by who attached it, whatever the setting is by then, and both draw
// from one pool. The node's own check afterwards finds anything left.
func TestNativeNetworkAndPluginsTakeTurns(t *testing.T) {
	n := newNode(t)
	was, err := os.ReadFile(n.Setup.Config)
	must(t, err)
	set := func(native bool) {
		must(t, os.WriteFile(n.Setup.Config, was, 0o644))
		configure(n, fmt.Sprintf("\ncni_native = %v\n", native))
	}
	first := web(n, "first", 18081)
	if who := attachedBy(n, first); who != "native" {
		t.Errorf("by default a pod is attached by %q", who)
	}
	wantWeb(n, first, "first", 18081)
	set(false)
	second := web(n, "second", 18082)
	if who := attachedBy(n, second); who != "exec" {
		t.Errorf("switched off, a pod is attached by %q", who)
	}
	wantWeb(n, first, "first", 18081)
	wantWeb(n, second, "second", 18082)
	n.RemovePod(first) // natively, although that is switched off
	if got := taken(n); len(got) != 1 || got[0] != n.PodIP(second) {
		t.Errorf("taken: %v, want that of the second pod alone", got)
	}
	set(true)
	third := web(n, "third", 18081) // the first one's port is free
	wantWeb(n, third, "third", 18081)
	n.RemovePod(second) // by plugins, although native is on
	if got := taken(n); len(got) != 1 || got[0] != n.PodIP(third) {
		t.Errorf("taken: %v, want that of the third pod alone", got)
	}
	_ = n.Daemon.Kill()
	n.Start()
	wantWeb(n, third, "third", 18081)
	n.RemovePod(third)
	if got := taken(n); len(got) != 0 {
		t.Errorf("taken: %v", got)
	}
}

// Natively, the programs of the plugins need not be there.
func TestNativeNetworkNeedsNoPrograms(t *testing.T) {
	n := newNode(t)
	must(t, n.Daemon.Stop())
	bin := n.Setup.CNIBin
	n.Setup.CNIBin = t.TempDir()
	t.Cleanup(func() { n.Setup.CNIBin = bin })
	n.Start()
	pod := web(n, "bare", 18083)
	wantWeb(n, pod, "bare", 18083)
}

// A pod that the daemon died over, at any point of attaching it, holds no
// address afterwards.
func TestNativeAttachIsUndoneAfterAKill(t *testing.T) {
	n := newNode(t)
	var asked sync.WaitGroup
	records := func() int {
		files, _ := filepath.Glob(n.Setup.Root + "/pods/*/net.json")
		return len(files)
	}
	for i := range 5 {
		before := records()
		client := n.Runtime
		asked.Go(func() { // the daemon dies under it
			_, _ = client.RunPodSandbox(t.Context(), n.PodConfig(fmt.Sprint("cut", i)), "")
		})
		node.Until(t, "an attempt", func() bool { return records() > before })
		_ = n.Daemon.Kill()
		asked.Wait()
		n.Start()
	}
	pods, err := n.Runtime.ListPodSandbox(t.Context(), nil)
	must(t, err)
	for _, p := range pods {
		n.RemovePod(p.Id)
	}
	node.Until(t, "all addresses free", func() bool { return len(taken(n)) == 0 })
}
