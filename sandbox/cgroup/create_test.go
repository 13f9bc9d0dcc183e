package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestNewRefusesDriver(t *testing.T) {
	if _, err := New(Options{Driver: "systemd"}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("systemd: %v", err)
	}
	if _, err := New(Options{Driver: "docker"}); !errors.Is(err, ErrInvalid) {
		t.Errorf("docker: %v", err)
	}
}

func TestVersionFollowsTheFileSystem(t *testing.T) {
	tree, _ := testTree(t)
	want := "v1"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		want = "v2"
	}
	if tree.Version() != want {
		t.Errorf("version %s, want %s", tree.Version(), want)
	}
}

func TestCreateLimitsAndRemove(t *testing.T) {
	tree, at := testTree(t)
	ctx := context.Background()
	g, err := tree.Create(ctx, at+"/a/b", &specs.LinuxResources{
		CPU:    &specs.LinuxCPU{Shares: p[uint64](512), Quota: p[int64](50000), Period: p[uint64](100000), Cpus: "0"},
		Memory: &specs.LinuxMemory{Limit: p[int64](64 << 20), Swap: p[int64](64 << 20)},
		Pids:   &specs.LinuxPids{Limit: p[int64](100)},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := g.Limits()
	if err != nil {
		t.Fatal(err)
	}
	if *got.CPU.Quota != 50000 || *got.CPU.Period != 100000 || got.CPU.Cpus != "0" || *got.Memory.Limit != 64<<20 || *got.Pids.Limit != 100 {
		t.Errorf("limits read back: %s", describeLimits(got))
	}
	if tree.v2 && got.Unified["cpu.weight"] != "59" || !tree.v2 && *got.CPU.Shares != 512 {
		t.Errorf("cpu share read back: %s", describeLimits(got))
	}
	if _, err := tree.Create(ctx, at+"/a/b", nil); !errors.Is(err, ErrExists) {
		t.Errorf("second Create: %v", err)
	}
	if err := g.Remove(ctx); err != nil {
		t.Fatal(err)
	}
	if exists(t, tree, at+"/a/b") {
		t.Error("the leaf is still there")
	}
	if !exists(t, tree, at+"/a") {
		t.Error("the parent is gone")
	}
	if err := g.Remove(ctx); err != nil {
		t.Errorf("second Remove: %v", err)
	}
	if _, err := tree.Meter(g.Path()); !errors.Is(err, ErrNotFound) {
		t.Errorf("Stats after Remove: %v", err)
	}
}

func describeLimits(res *specs.LinuxResources) string {
	show := func(p *int64) string {
		if p == nil {
			return "nil"
		}
		return fmt.Sprint(*p)
	}
	return fmt.Sprintf("cpus %q quota %s memory %s swap %s pids %s unified %v", res.CPU.Cpus, show(res.CPU.Quota), show(res.Memory.Limit), show(res.Memory.Swap), show(res.Pids.Limit), res.Unified)
}

func TestCreateLeavesNothingBehind(t *testing.T) {
	tree, at := testTree(t)
	tests := []struct {
		name string
		res  specs.LinuxResources
	}{
		{"processor that is not there", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: p[int64](64 << 20)}, CPU: &specs.LinuxCPU{Cpus: "4000"}}},
		{"period too short", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: p[int64](1000), Period: p[uint64](3)}}},
		{"device type", specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Type: "x"}}}},
		{"refused field", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tree.Create(context.Background(), at+"/a/b", &tt.res)
			if err == nil || !strings.Contains(err.Error(), at+"/a/b") {
				t.Fatalf("error %v does not name the group", err)
			}
			if exists(t, tree, at) {
				t.Error("directories are left")
			}
		})
	}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := tree.Create(canceled, at+"/a/b", nil); !errors.Is(err, context.Canceled) || exists(t, tree, at) {
		t.Errorf("canceled: %v", err)
	}
}

func TestCreateKeepsTheParentsOfOthers(t *testing.T) {
	tree, at := testTree(t)
	if err := tree.EnsureParent(context.Background(), at); err != nil {
		t.Fatal(err)
	}
	bad := &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "4000"}}
	var wg sync.WaitGroup
	good := make([]*Group, 20)
	for i := range good {
		wg.Go(func() { _, _ = tree.Create(context.Background(), fmt.Sprintf("%s/pod/bad%d", at, i), bad) })
		wg.Go(func() {
			g, err := tree.Create(context.Background(), fmt.Sprintf("%s/pod/good%d", at, i), nil)
			if err != nil {
				t.Error(err)
			}
			good[i] = g
		})
	}
	wg.Wait()
	for i, g := range good {
		if g == nil {
			continue
		}
		if exists(t, tree, fmt.Sprintf("%s/pod/bad%d", at, i)) {
			t.Errorf("bad%d is left", i)
		}
		if err := g.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

func TestRemoveParent(t *testing.T) {
	tree, at := testTree(t)
	ctx := context.Background()
	g := mustCreate(t, tree, at+"/leaf")
	if err := tree.RemoveParent(ctx, at); err != nil {
		t.Errorf("with a child: %v", err)
	}
	if !exists(t, tree, at+"/leaf") {
		t.Fatal("the child is gone")
	}
	if err := g.Remove(ctx); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := tree.RemoveParent(ctx, at); err != nil {
			t.Error(err)
		}
		if exists(t, tree, at) {
			t.Error("the parent is left")
		}
	}
	if err := tree.RemoveParent(ctx, "/"); !errors.Is(err, ErrInvalid) {
		t.Errorf("root: %v", err)
	}
}

// A crash between two mkdirs leaves a group in some hierarchies only.
func TestOpenPartial(t *testing.T) {
	tree, at := testTree(t)
	if err := unix.Mkdirat(int(tree.all[0].root.Fd()), relative(at), 0o755); err != nil {
		t.Fatal(err)
	}
	g, err := tree.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := detail(g); err != nil && !errors.Is(err, ErrNotFound) || (!tree.v2 && s.Memory.Known && tree.index("memory") != 0) {
		t.Errorf("stats %+v, %v", s.Memory, err)
	}
	if err := g.Remove(context.Background()); err != nil {
		t.Error(err)
	}
	if exists(t, tree, at) {
		t.Error("still there")
	}
}

// A container with a writable cgroup mount makes groups of any depth and width.
func TestRemoveDeepAndWide(t *testing.T) {
	tree, at := testTree(t)
	g := mustCreate(t, tree, at)
	d := g.dirs[len(g.dirs)-1]
	for i := range 300 {
		if err := unix.Mkdirat(d.fd(), fmt.Sprintf("w%d", i), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cur, err := openDir(d, ".")
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if err := unix.Mkdirat(cur.fd(), "d", 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := openDir(cur, "d")
		if err != nil {
			t.Fatal(err)
		}
		_ = cur.Close()
		cur = next
	}
	_ = cur.Close()
	count := 0
	if err := subtree(d, func(dir) error { count++; return nil }); err != nil || count != 501 {
		t.Errorf("walked over %d groups, want 501: %v", count, err)
	}
	if err := g.Remove(context.Background()); err != nil {
		t.Fatal(err)
	}
	if exists(t, tree, at) {
		t.Error("still there")
	}
}

// Another group at the same path is not ours to remove or to kill.
func TestRemoveSparesASuccessor(t *testing.T) {
	tree, at := testTree(t)
	old := mustCreate(t, tree, at+"/x")
	other, err := tree.Open(at + "/x")
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Remove(context.Background()); err != nil {
		t.Fatal(err)
	}
	next := mustCreate(t, tree, at+"/x")
	cmd, _ := start(t, next, nil, "sleep", "60")
	if err := errors.Join(old.Kill(context.Background()), old.Remove(context.Background())); err != nil {
		t.Errorf("the old group: %v", err)
	}
	if !exists(t, tree, at+"/x") {
		t.Error("the successor is gone")
	}
	if err := cmd.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("its process: %v", err)
	}
}

func TestDevices(t *testing.T) {
	tree, at := testTree(t)
	if tree.index("devices") < 0 {
		t.Skip("no devices controller")
	}
	g, err := tree.Create(context.Background(), at+"/x", &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		{Allow: true, Type: "c", Major: p[int64](1), Minor: p[int64](3), Access: "rw"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	_, out := start(t, g, nil, "sh", "-c", `
		sleep 0.1
		(: < /dev/null) 2>&- && echo null-read
		(: < /dev/zero) 2>&- || echo zero-refused
		echo done; exec sleep 60`)
	waitLine(t, out, "null-read\nzero-refused\ndone")
}

// Every method opens and closes; a daemon lives for years.
func TestNoFileIsLeftOpen(t *testing.T) {
	tree, at := testTree(t)
	open := func() int { return len(mustList(t, "/proc/self/fd")) }
	before := open()
	for i := range 3 {
		g, err := tree.Create(context.Background(), at+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		child, err := g.Child("exec")
		if err != nil {
			t.Fatal(err)
		}
		into, procs, err := child.Join()
		if err != nil {
			t.Fatal(err)
		}
		closeAll(into, procs)
		_, statsErr := detail(g)
		if err := errors.Join(statsErr, g.Kill(context.Background()), g.Remove(context.Background()), child.Remove(context.Background())); err != nil {
			t.Fatal(err)
		}
		if _, err := tree.Create(context.Background(), at+"/y", &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "4000"}}); err == nil {
			t.Error("no error")
		}
		if after := open(); after != before {
			t.Fatalf("round %d: %d files open, %d before", i, after, before)
		}
	}
}
