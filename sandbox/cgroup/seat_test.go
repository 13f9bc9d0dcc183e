package cgroup

import (
	"fmt"
	"io"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// Commands one after another join by the same descriptors, are all in their own
// child and in their container, and leave nothing.
func TestSeat(t *testing.T) {
	tree, at := testTree(t)
	g := mustCreate(t, tree, at+"/x")
	var first []int
	for i := range 3 {
		child, err := g.Child(fmt.Sprintf("exec-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		into, procs, err := child.Seat()
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = slices.Clone(procs)
		} else if tree.childElsewhere(g) && !slices.Equal(first, procs) {
			t.Errorf("descriptors %v, before %v", procs, first)
		}
		if (into >= 0) != (tree.two >= 0) {
			t.Errorf("into %d", into)
		}
		run, out := start(t, child, nil, "sh", "-c", "echo up; exec sleep 300")
		waitLine(t, out, "up")
		if pids, err := child.Pids(); err != nil || len(pids) != 1 {
			t.Errorf("command: %v, %v", pids, err)
		}
		if pids, err := g.Pids(); err != nil || len(pids) != 1 {
			t.Errorf("container: %v, %v", pids, err)
		}
		if ok, err := child.Dismiss(); ok || err != nil {
			t.Errorf("a child with a process: dismissed %v, %v", ok, err)
		}
		_ = run.Process.Kill()
		_, _ = io.Copy(io.Discard, out)
		_ = run.Wait()
	}
	child, err := g.Child("empty")
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := child.Dismiss(); !ok || err != nil {
		t.Errorf("dismissed %v, %v", ok, err)
	}
	if exists(t, tree, child.Path()) {
		t.Error("it is still there")
	}
	if _, err := g.Dismiss(); err == nil {
		t.Error("a container was dismissed")
	}
	_ = g.Close()
	for _, fd := range first {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			t.Errorf("descriptor %d is still open", fd)
		}
	}
}

// childElsewhere: a child is in the cgroup2 tree only, and joins all others as
// its parent does.
func (t *Tree) childElsewhere(g *Group) bool { return g.childHierarchy() == t.two }
