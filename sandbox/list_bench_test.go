package sandbox

import (
	"fmt"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// BenchmarkList lists a node's pods and containers out of their snapshots.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{100, 500} {
		p := &Pods{pods: map[string]*pod{}, containers: map[string]*container{}}
		for i := range n {
			id := fmt.Sprintf("%064d", i)
			s, c := &pod{id: id}, &container{id: id}
			s.snapshot.Store(&Pod{ID: id, Config: &cri.PodSandboxConfig{}, CreatedAt: time.Unix(int64(i), 0), Ready: true})
			c.snapshot.Store(&Container{ID: id, PodID: id, Config: &cri.ContainerConfig{}, CreatedAt: time.Unix(int64(i), 0)})
			p.pods[id], p.containers[id] = s, c
		}
		b.Run(fmt.Sprintf("pods/%d", n), func(b *testing.B) {
			for b.Loop() {
				if got := p.List(); len(got) != n {
					b.Fatal(len(got))
				}
			}
		})
		b.Run(fmt.Sprintf("containers/%d", n), func(b *testing.B) {
			for b.Loop() {
				if got := p.Containers(); len(got) != n {
					b.Fatal(len(got))
				}
			}
		})
	}
}
