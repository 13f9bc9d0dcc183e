package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/imagestore"
	"slipway/sandbox/cgroup"
)

// benchPods is count pods on the host's network with a cgroup of their own, each
// with one container that counts as running; the groups have no process.
func benchPods(b *testing.B, count int) *Pods {
	b.Helper()
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	tree, err := cgroup.New(cgroup.Options{})
	if err != nil {
		b.Fatal(err)
	}
	images, err := imagestore.Open(b.Context(), imagestore.Options{Root: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	top := fmt.Sprintf("/slipway-bench-%d", os.Getpid())
	p := &Pods{
		o: Options{Cgroups: tree, Images: images}, log: slog.New(slog.DiscardHandler),
		pods: map[string]*pod{}, containers: map[string]*container{},
	}
	b.Cleanup(func() {
		for _, c := range p.containers {
			c.gauge.close()
			c.pod.gauge.close()
		}
		g, err := tree.Open(top)
		if err == nil {
			err = g.Remove(context.Background())
		}
		if err := errors.Join(err, images.Close(), tree.Close()); err != nil {
			b.Error(err)
		}
	})
	for i := range count {
		s := &pod{id: fmt.Sprint("pod", i), config: &cri.PodSandboxConfig{Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent:    fmt.Sprintf("%s/pod%d", top, i),
			SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE}},
		}}}
		s.snapshot.Store(&Pod{ID: s.id, Config: s.config, Ready: true})
		c := &container{id: fmt.Sprint("c", i), pod: s}
		c.snapshot.Store(&Container{ID: c.id, PodID: s.id, State: Running, StartedAt: time.Now()})
		p.pods[s.id], p.containers[c.id] = s, c
		g, err := tree.Create(b.Context(), p.cgroupPath(s, c.id), nil)
		if err != nil {
			b.Fatal(err)
		}
		_ = g.Close()
	}
	return p
}

// readCalls counts this process's system calls that read.
func readCalls(b *testing.B) (n int) {
	b.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Skip(err)
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "syscr: %d", &n); err == nil {
			break
		}
	}
	return n
}

const benchCount = 100

func BenchmarkListContainerStats(b *testing.B) {
	p := benchPods(b, benchCount)
	all := func(*Container) bool { return true }
	p.ListStats(b.Context(), all) // opens the files
	b.ReportAllocs()
	before := readCalls(b)
	for b.Loop() {
		if n := len(p.ListStats(b.Context(), all)); n != benchCount {
			b.Fatalf("%d containers", n)
		}
	}
	b.ReportMetric(float64(readCalls(b)-before)/float64(b.N*benchCount), "reads/container")
}

func BenchmarkListPodStats(b *testing.B) {
	p := benchPods(b, benchCount)
	all := func(*Pod) bool { return true }
	p.ListPodStats(b.Context(), all)
	b.ReportAllocs()
	before := readCalls(b)
	for b.Loop() {
		if n := len(p.ListPodStats(b.Context(), all)); n != benchCount {
			b.Fatalf("%d pods", n)
		}
	}
	b.ReportMetric(float64(readCalls(b)-before)/float64(b.N*benchCount), "reads/pod")
}

func BenchmarkPodDetails(b *testing.B) {
	p := benchPods(b, benchCount)
	b.ReportAllocs()
	before := readCalls(b)
	for b.Loop() {
		if all, err := p.PodDetails(b.Context()); err != nil || len(all) != benchCount || len(all[0].Containers) != 1 {
			b.Fatal(len(all), err)
		}
	}
	b.ReportMetric(float64(readCalls(b)-before)/float64(b.N*benchCount), "reads/pod")
}
