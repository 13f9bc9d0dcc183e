package cgroup

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func killed(t *testing.T, err error) {
	t.Helper()
	var exit interface{ Sys() any }
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
		t.Errorf("the process ended with %v, want SIGKILL", err)
	}
}

func TestJoinIsInEveryHierarchy(t *testing.T) {
	tree, at := testTree(t)
	g := mustCreate(t, tree, at+"/x")
	cmd, out := start(t, g, nil, "sh", "-c", "echo in; exec sleep 60")
	waitLine(t, out, "in")
	for i, d := range g.dirs {
		text, err := d.read("cgroup.procs")
		if err != nil || !slices.Contains(strings.Fields(text), itoa(cmd.Process.Pid)) {
			t.Errorf("%s has %q, %v", tree.all[i].name, text, err)
		}
	}
	pids, err := g.Pids()
	if err != nil || !slices.Equal(pids, []int{cmd.Process.Pid}) {
		t.Errorf("pids %v, %v; want %d", pids, err, cmd.Process.Pid)
	}
}

func TestKillMany(t *testing.T) {
	tree, at := testTree(t)
	g, err := tree.Create(context.Background(), at+"/x", &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: p[int64](600)}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	cmd, out := start(t, g, nil, "sh", "-c", "i=0; while [ $i -lt 500 ]; do sleep 300 & i=$((i+1)); done; echo all; wait")
	waitLine(t, out, "all")
	began := time.Now()
	if err := g.Kill(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Log("500 processes killed in", time.Since(began))
	killed(t, cmd.Wait())
	if pids, err := g.Pids(); err != nil || len(pids) > 0 {
		t.Errorf("left: %v, %v", pids, err)
	}
	if err := g.Remove(context.Background()); err != nil {
		t.Error(err)
	}
}

// A fork bomb multiplies while it is killed.
func TestKillForkBomb(t *testing.T) {
	tree, at := testTree(t)
	g, err := tree.Create(context.Background(), at+"/x", &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: p[int64](200)}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	_, _ = start(t, g, nil, "sh", "-c", "exec 2>&-; while :; do (sleep 300 &) ; done")
	waitFor(t, "20 processes", func() bool { pids, _ := g.Pids(); return len(pids) > 20 })
	if err := errors.Join(g.Kill(context.Background()), g.Remove(context.Background())); err != nil {
		t.Error(err)
	}
}

// The loop that signals one by one is all there is without a cgroup2 tree.
func TestKillWithoutCgroup2(t *testing.T) {
	tree, at := testTree(t)
	if tree.v2 {
		t.Skip("v1 only")
	}
	g := mustCreate(t, tree, at+"/x")
	_, out := start(t, g, nil, "sh", "-c", "i=0; while [ $i -lt 200 ]; do sleep 300 & i=$((i+1)); done; echo all; wait")
	waitLine(t, out, "all")
	bare := newGroup(tree, g.path)
	copy(bare.dirs, g.dirs)
	if tree.two >= 0 {
		bare.dirs[tree.two] = dir{}
	}
	if err := bare.Kill(context.Background()); err != nil {
		t.Error(err)
	}
}

// A25: a container freezes a group of its own, below its leaf.
func TestKillFrozen(t *testing.T) {
	tree, at := testTree(t)
	g := mustCreate(t, tree, at+"/x")
	d, file, word, ok := g.freezer()
	if !ok {
		t.Skip("no freezer")
	}
	if err := unix.Mkdirat(d.fd(), "own", 0o755); err != nil {
		t.Fatal(err)
	}
	own, err := openDir(d, "own")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	cmd, out := start(t, g, nil, "sh", "-c", "echo up; exec sleep 300")
	waitLine(t, out, "up")
	if err := own.write("cgroup.procs", itoa(cmd.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	if err := own.write(file, word); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "frozen", func() bool { frozen, _ := isFrozen(own, file); return frozen })
	if err := g.Kill(context.Background()); err != nil {
		t.Fatal(err)
	}
	killed(t, cmd.Wait())
	if err := g.Remove(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestFreezeAndThaw(t *testing.T) {
	tree, at := testTree(t)
	g := mustCreate(t, tree, at+"/x")
	_, out := start(t, g, nil, "sh", "-c", "while :; do echo tick; sleep 0.01; done")
	waitLine(t, out, "tick")
	if err := g.Freeze(context.Background()); err != nil {
		t.Fatal(err)
	}
	before := mustDetail(t, g).CPU.Usage
	time.Sleep(50 * time.Millisecond)
	if after := mustDetail(t, g).CPU.Usage; after != before {
		t.Errorf("a frozen group ran for %v", after-before)
	}
	if err := g.Thaw(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "running again", func() bool { return mustDetail(t, g).CPU.Usage > before })
}

// Frozen from above, a v1 process cannot die: the error must say who stays, and
// Kill must come back.
func TestKillNamesWhoStays(t *testing.T) {
	tree, at := testTree(t)
	if tree.v2 {
		t.Skip("on v2 a frozen process dies")
	}
	above := mustCreate(t, tree, at)
	g := mustCreate(t, tree, at+"/x")
	cmd, out := start(t, g, nil, "sh", "-c", "echo up; exec sleep 300")
	waitLine(t, out, "up")
	if err := above.Freeze(context.Background()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	err := g.Kill(ctx)
	var stuck *StuckError
	if !errors.As(err, &stuck) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	who := stuck.Processes[0]
	if stuck.Total != 1 || who.Pid != cmd.Process.Pid || who.Name == "" || who.State != "D" || who.Wait == "" {
		t.Errorf("named %+v", stuck)
	}
	t.Log(err)
	ctx, cancel = context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := g.Remove(ctx); !errors.As(err, &stuck) {
		t.Errorf("remove: %v", err)
	}
	if err := above.Thaw(); err != nil {
		t.Fatal(err)
	}
	killed(t, cmd.Wait())
	if err := g.Remove(context.Background()); err != nil {
		t.Errorf("remove after the end: %v", err)
	}
}

func TestKillRefusesItself(t *testing.T) {
	tree, at := testTree(t)
	g := mustCreate(t, tree, at+"/x")
	d := g.dirs[len(g.dirs)-1]
	if err := d.write("cgroup.procs", "0"); err != nil {
		t.Fatal(err)
	}
	home := dir{tree.all[len(tree.all)-1].root}
	defer func() {
		if err := home.write("cgroup.procs", itoa(os.Getpid())); err != nil {
			t.Error(err)
		}
	}()
	if err := g.Kill(context.Background()); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// A timed-out exec: its whole tree goes, its container does not notice.
func TestChildKillsTheExecOnly(t *testing.T) {
	tree, at := testTree(t)
	g := mustCreate(t, tree, at+"/x")
	container, out := start(t, g, nil, "sh", "-c", "echo up; exec sleep 300")
	waitLine(t, out, "up")
	child, err := g.Child("exec-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Child("exec-1"); !errors.Is(err, ErrExists) {
		t.Errorf("second child of that name: %v", err)
	}
	for _, bad := range []string{"", "..", "a/b"} {
		if _, err := g.Child(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("child %q: %v", bad, err)
		}
	}
	if err := g.Close(); err != nil { // callers open, make a child, close
		t.Fatal(err)
	}
	if g, err = tree.Open(g.Path()); err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if fd, err := child.OOM(); err != nil {
		t.Error(err)
	} else {
		_ = unix.Close(fd)
	}
	run, out := start(t, child, nil, "sh", "-c", "setsid sleep 300 & (setsid sleep 300 &); sleep 0.1; echo up; wait")
	waitLine(t, out, "up")
	if pids, err := g.Pids(); err != nil || len(pids) != 4 {
		t.Errorf("container and exec: %v, %v", pids, err)
	}
	if pids, err := child.Pids(); err != nil || len(pids) != 3 {
		t.Errorf("exec: %v, %v", pids, err)
	}
	if s := mustDetail(t, g); s.Threads.Known && s.Threads.N != 4 {
		t.Errorf("the container is charged for %d tasks, want 4", s.Threads.N)
	}
	if err := child.Kill(context.Background()); err != nil {
		t.Fatal(err)
	}
	killed(t, run.Wait())
	if err := child.Remove(context.Background()); err != nil {
		t.Fatal(err)
	}
	if pids, err := g.Pids(); err != nil || !slices.Equal(pids, []int{container.Process.Pid}) {
		t.Errorf("after the exec: %v, %v", pids, err)
	}
	if err := child.Update(context.Background(), nil); !errors.Is(err, ErrUnsupported) {
		t.Errorf("update of a child: %v", err)
	}
	// An exec that nobody waited for goes with the container.
	if child, err = g.Child("exec-2"); err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	_, out = start(t, child, nil, "sh", "-c", "echo up; exec sleep 300")
	waitLine(t, out, "up")
	if err := errors.Join(g.Kill(context.Background()), g.Remove(context.Background())); err != nil {
		t.Error(err)
	}
	if err := child.Remove(context.Background()); err != nil {
		t.Errorf("the child of a removed group: %v", err)
	}
}

// Without a cgroup2 tree an exec still gets a group of its own.
func TestChildWithoutCgroup2(t *testing.T) {
	tree, at := testTree(t)
	if tree.v2 {
		t.Skip("v1 only")
	}
	g := mustCreate(t, tree, at+"/x")
	bare := newGroup(tree, g.path)
	copy(bare.dirs, g.dirs)
	if tree.two >= 0 {
		bare.dirs[tree.two] = dir{}
	}
	child, err := bare.Child("exec-1")
	if err != nil {
		t.Fatal(err)
	}
	_, out := start(t, child, nil, "sh", "-c", "echo up; exec sleep 300")
	waitLine(t, out, "up")
	if err := errors.Join(child.Kill(context.Background()), child.Remove(context.Background())); err != nil {
		t.Error(err)
	}
}
