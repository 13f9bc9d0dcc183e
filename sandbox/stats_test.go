package sandbox

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox/cgroup"
	"slipway/sandbox/linux"
)

func TestCores(t *testing.T) {
	var g gauge
	start := time.Unix(100, 0)
	for _, step := range []struct {
		after, usage time.Duration
		want         Number
		why          string
	}{
		{0, 5 * time.Second, Number{}, "the first reading has no rate"},
		{50 * time.Millisecond, 6 * time.Second, Number{}, "too soon for another sample"},
		{2 * time.Second, 6 * time.Second, Number{N: 500_000_000, Known: true}, "half a core"},
		{2*time.Second + time.Millisecond, 9 * time.Second, Number{N: 500_000_000, Known: true}, "too soon: the rate before"},
		{4 * time.Second, 6 * time.Second, Number{Known: true}, "idle is zero, and known"},
		{5 * time.Second, time.Second, Number{}, "a counter that went back has no rate"},
		{6 * time.Second, 4 * time.Second, Number{N: 3_000_000_000, Known: true}, "three cores"},
	} {
		if got := g.cores(start.Add(step.after), step.usage); got != step.want {
			t.Errorf("%s: %+v, want %+v", step.why, got, step.want)
		}
	}
}

type closer struct{ open *atomic.Int64 }

func (c *closer) Close() error { c.open.Add(-1); return nil }

// However many ask at once: what was opened is closed in the end, and nothing is
// opened after close.
func TestLazy(t *testing.T) {
	var open atomic.Int64
	make1 := func() (*closer, error) { open.Add(1); return &closer{&open}, nil }
	for range 100 {
		var l lazy[*closer]
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				c, err := l.get(make1)
				if err != nil && !errors.Is(err, ErrState) {
					t.Error(err)
				}
				if err == nil {
					l.drop(c)
				}
			})
		}
		wait.Go(l.close)
		wait.Wait()
		if _, err := l.get(make1); !errors.Is(err, ErrState) {
			t.Errorf("after close: %v", err)
		}
	}
	if n := open.Load(); n != 0 {
		t.Errorf("%d are left open", n)
	}
	var slow lazy[*closer]
	var first *closer
	got, err := slow.get(func() (*closer, error) { // while this one opens, another one has opened
		first, _ = slow.get(make1)
		return make1()
	})
	if got != first || err != nil || open.Load() != 1 {
		t.Errorf("%p, %v; %d are open, want the first alone", got, err, open.Load())
	}
	var l lazy[*closer]
	if _, err := l.get(func() (*closer, error) { return nil, errors.ErrUnsupported }); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a failing open: %v", err)
	}
}

func TestSum(t *testing.T) {
	one := func(usage time.Duration, memory, limit uint64) *Stats {
		s := &Stats{}
		s.Cgroup.Time = time.Unix(1, 0)
		s.Cgroup.CPU.Known, s.Cgroup.CPU.Usage = true, usage
		s.Cgroup.CPU.Pressure.Known = true
		s.Cgroup.Memory = cgroup.MemoryStats{Known: true, Usage: memory, WorkingSet: memory, Limit: limit}
		if limit > 0 {
			s.Cgroup.Memory.Available = limit - memory
		}
		return s
	}
	got := sum([]*Stats{one(1, 10, 100), {}, one(2, 20, 200)})
	want := CgroupStats{Time: time.Unix(1, 0)}
	want.CPU.Known, want.CPU.Usage = true, 3
	want.Memory = cgroup.MemoryStats{Known: true, Usage: 30, WorkingSet: 30, Limit: 300, Available: 270}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if m := sum([]*Stats{one(1, 10, 100), one(2, 20, 0)}).Memory; m.Limit != 0 || m.Available != 0 {
		t.Errorf("one without a limit: %+v", m)
	}
	if d := cmp.Diff(CgroupStats{}, sum(nil)); d != "" {
		t.Error(d)
	}
}

func TestOrderOfInterfaces(t *testing.T) {
	var names []string
	for _, i := range order([]linux.Interface{{Name: "lo"}, {Name: "net1"}, {Name: "net0"}, {Name: "eth0"}}) {
		names = append(names, i.Name)
	}
	if d := cmp.Diff([]string{"eth0", "net1", "net0"}, names); d != "" {
		t.Error(d)
	}
}

// A cgroup parent measures a pod only when it is this pod's alone.
func TestOwnParent(t *testing.T) {
	p := &Pods{pods: map[string]*pod{}}
	add := func(id, named string) *pod {
		s := &pod{id: id, parent: "/slipway", config: &cri.PodSandboxConfig{Linux: &cri.LinuxPodSandboxConfig{CgroupParent: named}}}
		s.snapshot.Store(&Pod{ID: id, Ready: true})
		p.pods[id] = s
		return s
	}
	alone := add("a", "/kubepods/pod1")
	slice := add("b", "kubepods-pod2.slice")
	none := add("c", "")
	shared, other := add("d", "/shared"), add("e", "/shared/")
	in := p.members()
	for s, want := range map[*pod]string{alone: "/kubepods/pod1", slice: "/kubepods.slice/kubepods-pod2.slice", none: "", shared: "", other: ""} {
		got, err := p.ownParent(s, in)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("pod %s: %q, %v; want %q", s.id, got, err, want)
		}
	}
	other.snapshot.Store(&Pod{ID: "e"}) // stopped: the parent is the other's alone
	if got, err := p.ownParent(shared, p.members()); got != "/shared" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
