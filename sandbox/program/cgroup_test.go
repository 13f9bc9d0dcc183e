package program

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// testCgroup makes groups for a test: cgroup2 by descriptor, v1 pids by cgroup.procs.
func testCgroup(t *testing.T) Cgroup {
	t.Helper()
	needRoot(t)
	name := fmt.Sprintf("slipway-program-test-%d", os.Getpid())
	c := noCgroup()
	for _, tree := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"} {
		if _, err := os.Stat(tree + "/cgroup.procs"); err != nil {
			continue
		}
		dir := tree + "/" + name
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(dir) })
		path, flags := dir, unix.O_PATH|unix.O_DIRECTORY
		if strings.HasSuffix(tree, "pids") {
			path, flags = dir+"/cgroup.procs", unix.O_WRONLY
		}
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if flags == unix.O_WRONLY {
			c.Procs = append(c.Procs, fd)
		} else {
			c.Into = fd
		}
	}
	return c
}

// A process is born in its groups, and its cgroup namespace begins there: on
// every hierarchy it sees itself at the root.
func TestCgroups(t *testing.T) {
	root, group := image(t), testCgroup(t)
	o := newOutput(t)
	s := testSpec("facts", "cat=/sys/fs/cgroup/pids/cgroup.procs", "wait")
	p, err := (&Container{Spec: s, Root: root, PidInit: -1, Cgroup: group, Stdio: o.stdio()}).Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ch, err := start(t, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reapNow(ch) })
	out := o.until(t, "ready")
	if strings.Contains(out, "slipway-program-test") || len(group.Procs) > 0 && !strings.Contains(out, `cgroup.procs: "1\n`) {
		t.Errorf("not at the root of its cgroups:\n%s", out)
	}
	e, err := (&Exec{Process: testSpec("facts", "wait").Process, Init: ch.Pidfd, Cgroup: group, Stdio: o.stdio(), Devpts: -1}).Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ech, err := start(t, e)
	if err != nil {
		t.Fatal(err)
	}
	defer reapNow(ech)
	for _, pid := range []int{ch.Pid, ech.Pid} {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		want := len(group.Procs)
		if group.Into >= 0 {
			want++
		}
		if n := strings.Count(string(b), "slipway-program-test"); n != want {
			t.Errorf("in %d groups, want %d:\n%s", n, want, b)
		}
	}
}

// A privileged container sees the host's tree, and the tree keeps its options:
// those of a new mount would hold for the whole host.
func TestCgroupsOfTheHost(t *testing.T) {
	root := image(t)
	v1, v2, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	if len(v1) > 0 || !v2 {
		t.Skip("needs a host with cgroup v2 alone")
	}
	s := testSpec("cat=/proc/self/mountinfo")
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.CgroupNamespace })
	before := cgroup2Options(t)
	for _, mode := range []string{"ro", "rw"} {
		s.Mounts[len(s.Mounts)-1].Options = []string{"nosuid", "noexec", "nodev", "relatime", mode}
		out, err := runContainer(t, &Container{Spec: s, Root: root, PidInit: -1, Cgroup: noCgroup()})
		if err != nil {
			t.Fatal(err)
		}
		hasAll(t, out, "/sys/fs/cgroup "+mode+",nosuid,nodev,noexec,relatime ")
		if now := cgroup2Options(t); now != before {
			t.Errorf("%s: the host's cgroup2 has the options %q, had %q", mode, now, before)
		}
	}
}

// cgroup2Options are those of the tree, not of one mount of it.
func cgroup2Options(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if _, tail, _ := strings.Cut(line, " - "); strings.HasPrefix(tail, "cgroup2 ") {
			return strings.Fields(tail)[2]
		}
	}
	t.Fatal("no cgroup2 is mounted")
	return ""
}
