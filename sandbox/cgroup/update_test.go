package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func itoa(n int) string { return fmt.Sprint(n) }

// memoryLimits is memory and memory+swap as they are; without swap accounting both are the first.
func memoryLimits(t *testing.T, g *Group) (limit, total int64) {
	t.Helper()
	res, err := g.Limits()
	if err != nil {
		t.Fatal(err)
	}
	if res.Memory.Limit == nil {
		t.Skip("no memory controller")
	}
	if res.Memory.Swap == nil {
		return *res.Memory.Limit, *res.Memory.Limit
	}
	return *res.Memory.Limit, *res.Memory.Swap
}

func TestUpdateMemoryBothWays(t *testing.T) {
	tree, at := testTree(t)
	ctx := context.Background()
	g := mustCreate(t, tree, at+"/x")
	steps := []struct{ limit, swap, wantLimit, wantTotal int64 }{
		{64 << 20, 64 << 20, 64 << 20, 64 << 20},
		{128 << 20, 128 << 20, 128 << 20, 128 << 20}, // raise
		{32 << 20, 32 << 20, 32 << 20, 32 << 20},     // lower
		{48 << 20, 0, 48 << 20, 48 << 20},            // the limit alone: still no swap
		{0, 0, 48 << 20, 48 << 20},                   // nothing
		{0, 64 << 20, 48 << 20, 64 << 20},            // 16 MiB of swap
		{16 << 20, 0, 16 << 20, 32 << 20},            // which stay
		{-1, 0, -1, -1},                              // lifted
	}
	for _, s := range steps {
		if err := g.Update(ctx, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &s.limit, Swap: &s.swap}}); err != nil {
			t.Fatalf("%+v: %v", s, err)
		}
		limit, total := memoryLimits(t, g)
		if limit != s.wantLimit || total != s.wantTotal {
			t.Errorf("%+v: limit %d, with swap %d", s, limit, total)
		}
	}
}

func TestUpdateKeepsWhatIsUnset(t *testing.T) {
	tree, at := testTree(t)
	ctx := context.Background()
	g := mustCreate(t, tree, at+"/x")
	updates := []specs.LinuxResources{
		{CPU: &specs.LinuxCPU{Shares: p[uint64](2048), Quota: p[int64](20000), Period: p[uint64](50000)}, Pids: &specs.LinuxPids{Limit: p[int64](50)}},
		{CPU: &specs.LinuxCPU{Quota: p[int64](30000)}},
		{CPU: &specs.LinuxCPU{Period: p[uint64](100000)}},
		{CPU: &specs.LinuxCPU{Quota: p[int64](400000), Period: p[uint64](200000)}},
		{CPU: &specs.LinuxCPU{Cpus: "0"}, Pids: &specs.LinuxPids{Limit: p[int64](0)}},
	}
	for i, u := range updates {
		if err := g.Update(ctx, &u); err != nil {
			t.Fatalf("update %d: %v", i, err)
		}
	}
	res, err := g.Limits()
	if err != nil {
		t.Fatal(err)
	}
	if *res.CPU.Quota != 400000 || *res.CPU.Period != 200000 || *res.Pids.Limit != 50 || res.CPU.Cpus != "0" {
		t.Errorf("limits: %s", describeLimits(res))
	}
	if tree.v2 && res.Unified["cpu.weight"] != "174" || !tree.v2 && *res.CPU.Shares != 2048 {
		t.Errorf("share: %s", describeLimits(res))
	}
	if err := g.Update(ctx, &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: p[int64](-1)}, Pids: &specs.LinuxPids{Limit: p[int64](-1)}}); err != nil {
		t.Fatal(err)
	}
	if res, err = g.Limits(); err != nil || *res.CPU.Quota != -1 || *res.Pids.Limit != -1 {
		t.Errorf("lifted: %s, %v", describeLimits(res), err)
	}
}

// Half an update is none: what was written before the refusal is undone.
func TestUpdateIsAllOrNothing(t *testing.T) {
	tree, at := testTree(t)
	ctx := context.Background()
	g := mustCreate(t, tree, at+"/x")
	first := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: p[int64](64 << 20), Swap: p[int64](80 << 20)},
		CPU:    &specs.LinuxCPU{Quota: p[int64](20000), Period: p[uint64](50000)},
		Pids:   &specs.LinuxPids{Limit: p[int64](50)},
	}
	if err := g.Update(ctx, first); err != nil {
		t.Fatal(err)
	}
	before, err := g.Limits()
	if err != nil {
		t.Fatal(err)
	}
	err = g.Update(ctx, &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: p[int64](128 << 20), Swap: p[int64](256 << 20)},
		CPU:    &specs.LinuxCPU{Quota: p[int64](10000), Period: p[uint64](100000), Cpus: "4000"},
		Pids:   &specs.LinuxPids{Limit: p[int64](5)},
	})
	if err == nil || !strings.Contains(err.Error(), "cpuset.cpus") {
		t.Fatalf("error %v does not name the file", err)
	}
	after, err := g.Limits()
	if err != nil {
		t.Fatal(err)
	}
	if describeLimits(after) != describeLimits(before) {
		t.Errorf("limits\n  were %s\n  are  %s", describeLimits(before), describeLimits(after))
	}
}

func TestUpdateBelowUsage(t *testing.T) {
	tree, at := testTree(t)
	ctx := context.Background()
	g, err := tree.Create(ctx, at+"/x", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: p[int64](128 << 20), Swap: p[int64](128 << 20)}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	_, out := start(t, g, []string{hogEnv + "=64"}, os.Args[0])
	waitLine(t, out, "full")
	err = g.Update(ctx, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: p[int64](16 << 20), Swap: p[int64](16 << 20)}, Pids: &specs.LinuxPids{Limit: p[int64](5)}})
	var below *LimitError
	if !errors.As(err, &below) || below.Limit != 16<<20 || below.Usage < 60<<20 || !errors.Is(err, ErrBelowUsage) {
		t.Fatalf("got %v", err)
	}
	t.Log(err)
	limit, total := memoryLimits(t, g)
	if limit != 128<<20 || total != 128<<20 {
		t.Errorf("limit %d, with swap %d", limit, total)
	}
	if pids, err := g.Pids(); err != nil || len(pids) != 1 {
		t.Errorf("the process: %v, %v", pids, err)
	}
}

func TestOOMKillIsCounted(t *testing.T) {
	tree, at := testTree(t)
	g, err := tree.Create(context.Background(), at+"/x", &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: p[int64](32 << 20), Swap: p[int64](32 << 20)},
		Pids:   &specs.LinuxPids{Limit: p[int64](50)},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	fd, err := g.OOM()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	count := func() uint64 {
		buf := make([]byte, 512)
		n, err := unix.Pread(fd, buf, 0)
		if err != nil {
			t.Fatal(err)
		}
		var kills uint64
		eachPair(buf[:n], func(key []byte, n uint64) {
			if string(key) == "oom_kill" {
				kills = n
			}
		})
		return kills
	}
	if n := count(); n != 0 {
		t.Errorf("%d kills before", n)
	}
	cmd, _ := start(t, g, []string{hogEnv + "=128"}, os.Args[0])
	killed(t, cmd.Wait())
	if n := count(); n != 1 {
		t.Errorf("%d kills counted, want 1", n)
	}
	if n := mustDetail(t, g).OOMKills; n != (Number{1, true}) {
		t.Errorf("%+v kills in the stats, want 1", n)
	}
}

func TestPidsLimit(t *testing.T) {
	tree, at := testTree(t)
	g, err := tree.Create(context.Background(), at+"/x", &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: p[int64](10)}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	cmd, out := start(t, g, nil, "sh", "-c", "exec 2>&-; echo up; i=0; while [ $i -lt 50 ]; do sleep 300 & i=$((i+1)); done; echo all; wait")
	waitLine(t, out, "up")
	err = cmd.Wait() // dash gives up at the first fork that is refused
	if err == nil {
		t.Error("50 processes fitted into 10")
	}
	if s := mustDetail(t, g); s.Threads != (Number{9, true}) || s.MaxThreads != (Number{10, true}) {
		t.Errorf("%+v of %+v threads, want the 9 that are left without their parent", s.Threads, s.MaxThreads)
	}
}

func TestStatsGrow(t *testing.T) {
	tree, at := testTree(t)
	g, err := tree.Create(context.Background(), at+"/x", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: p[int64](200 << 20)}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	before := mustDetail(t, g)
	if !before.CPU.Known || !before.Memory.Known || !before.Threads.Known {
		t.Fatalf("unknown parts: %+v", before)
	}
	_, out := start(t, g, []string{hogEnv + "=64"}, os.Args[0])
	waitLine(t, out, "full")
	after := mustDetail(t, g)
	m := after.Memory
	if m.RSS < 60<<20 || m.Usage < m.RSS || m.WorkingSet < 60<<20 || m.WorkingSet > m.Usage || m.Limit != 200<<20 || m.Available != m.Limit-m.WorkingSet {
		t.Errorf("memory %+v", m)
	}
	if m.Faults <= before.Memory.Faults || after.CPU.Usage <= before.CPU.Usage || after.Threads.N == 0 || !after.Time.After(before.Time) {
		t.Errorf("before %+v\nafter  %+v", before, after)
	}
	t.Logf("%+v", after)
}

func BenchmarkStats(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	tree, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer tree.Close()
	g, err := tree.Create(context.Background(), fmt.Sprintf("/slipway-test-%d-bench", os.Getpid()), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = g.Remove(context.Background()) }()
	m, err := tree.Meter(g.Path())
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	b.ReportAllocs()
	b.ReportMetric(float64(m.open()), "syscalls/op")
	for b.Loop() {
		if _, err := m.Stats(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreateRemove(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	tree, err := New(Options{Patience: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	defer tree.Close()
	at := fmt.Sprintf("/slipway-test-%d-bench", os.Getpid())
	for b.Loop() {
		g, err := tree.Create(context.Background(), at, &specs.LinuxResources{
			CPU:    &specs.LinuxCPU{Shares: p[uint64](512), Quota: p[int64](50000), Period: p[uint64](100000)},
			Memory: &specs.LinuxMemory{Limit: p[int64](64 << 20), Swap: p[int64](64 << 20)},
		})
		if err != nil {
			b.Fatal(err)
		}
		if err := g.Remove(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
