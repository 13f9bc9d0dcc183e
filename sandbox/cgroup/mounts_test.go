package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// insideEnv makes a test run its inner half, in namespaces of its own.
const insideEnv = "SLIPWAY_TEST_INSIDE"

// inNamespaces runs this very test again, in its own mount and cgroup namespaces
// after the shell lines of setup.
func inNamespaces(t *testing.T, setup string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	cmd := exec.Command("unshare", "-mC", "sh", "-ec", setup+` exec "$0" "$@"`,
		os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestReadonlyMountIsNamed(t *testing.T) {
	if os.Getenv(insideEnv) == "" {
		inNamespaces(t, `for m in $(awk '$9 ~ /^cgroup/ || $10 ~ /^cgroup/ || $8 ~ /^cgroup/ {print $5}' /proc/self/mountinfo); do mount -o remount,bind,ro $m; done;`)
		return
	}
	tree, at := testTree(t)
	_, err := tree.Create(context.Background(), at+"/x", nil)
	if !errors.Is(err, unix.EROFS) {
		t.Errorf("got %v", err)
	}
	if err == nil || exists(t, tree, at) {
		t.Error("something was made")
	}
}

// A cgroup namespace shows its own group as the root of fresh mounts; groups are
// made in the mounts as they are, and found again.
func TestOwnNamespaces(t *testing.T) {
	if os.Getenv(insideEnv) == "" {
		inNamespaces(t, "")
		return
	}
	tree, at := testTree(t)
	g := mustCreate(t, tree, at+"/x")
	_, out := start(t, g, nil, "sh", "-c", "echo up; exec sleep 60")
	waitLine(t, out, "up")
	if err := errors.Join(g.Kill(context.Background()), g.Remove(context.Background())); err != nil {
		t.Error(err)
	}
}

// A hierarchy that another mount covers is as good as not mounted.
func TestCoveredMountIsLeftOut(t *testing.T) {
	if os.Getenv(insideEnv) == "" {
		tree, _ := testTree(t)
		if tree.v2 {
			t.Skip("v1 only")
		}
		inNamespaces(t, "mount -t tmpfs none /sys/fs/cgroup/pids;")
		return
	}
	tree, at := testTree(t)
	if tree.index("pids") >= 0 {
		t.Error("the covered hierarchy is used")
	}
	g := mustCreate(t, tree, at+"/x")
	if s := mustDetail(t, g); s.Threads.Known || !s.Memory.Known {
		t.Errorf("stats %+v", s)
	}
	if err := g.Remove(context.Background()); err != nil {
		t.Error(err)
	}
	if fmt.Sprint(mustList(t, "/sys/fs/cgroup/pids")) != "[]" {
		t.Error("a directory was made in the cover")
	}
}

func mustList(t *testing.T, at string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(at)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}
