package cgroup

import (
	"context"
	"errors"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestUnified(t *testing.T) {
	tree, at := testTree(t)
	res := &specs.LinuxResources{Unified: map[string]string{"memory.oom.group": "1", "memory.high": "8388608"}}
	g, err := tree.Create(context.Background(), at+"/x", res)
	if !tree.v2 {
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "memory.high") {
			t.Errorf("v1 must name the key: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if g.text("memory", "memory.oom.group") != "1" || g.text("memory", "memory.high") != "8388608" {
		t.Error("not set")
	}
	err = g.Update(context.Background(), &specs.LinuxResources{Unified: map[string]string{"memory.low": "4096", "pids.nothing": "1"}})
	if err == nil || !strings.Contains(err.Error(), "pids.nothing") {
		t.Errorf("unknown key: %v", err)
	}
	if g.text("memory", "memory.low") != "0" {
		t.Error("half an update stayed")
	}
}

// v2 gives controllers only to groups whose parent has no processes.
func TestParentWithProcesses(t *testing.T) {
	tree, at := testTree(t)
	if !tree.v2 {
		t.Skip("v2 only")
	}
	if err := unix.Mkdirat(int(tree.all[0].root.Fd()), relative(at), 0o755); err != nil {
		t.Fatal(err)
	}
	parent, err := tree.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	_, out := start(t, parent, nil, "sh", "-c", "echo up; exec sleep 60")
	waitLine(t, out, "up")
	_, err = tree.Create(context.Background(), at+"/x", nil)
	if !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), at) {
		t.Errorf("got %v", err)
	}
	if exists(t, tree, at+"/x") {
		t.Error("the leaf is left")
	}
}

// The controllers reach the leaf through parents that we made ourselves.
func TestControllersReachTheLeaf(t *testing.T) {
	tree, at := testTree(t)
	if !tree.v2 {
		t.Skip("v2 only")
	}
	g := mustCreate(t, tree, at+"/a/b/c")
	top, err := dir{tree.all[0].root}.read("cgroup.controllers")
	if err != nil {
		t.Fatal(err)
	}
	leaf := strings.Fields(g.text("", "cgroup.controllers"))
	if missing := missingControllers(top, strings.Join(leaf, " ")); len(missing) > 0 {
		t.Errorf("leaf has %v, lacks %v", leaf, missing)
	}
}
