package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParsePath(t *testing.T) {
	tests := []struct {
		path, parent, leaf string
		bad                bool
	}{
		{path: "/slipway/4f", parent: "/slipway", leaf: "4f"},
		{path: "/4f", parent: "/", leaf: "4f"},
		{path: "", bad: true},
		{path: "/", bad: true},
		{path: "slipway/4f", bad: true},
		{path: "/slipway/", bad: true}, // an empty id
		{path: "/slipway/..", bad: true},
		{path: "/slipway/../x", bad: true},
		{path: "/slipway//x", bad: true},
		{path: "/a\nb", bad: true},
		{path: "/" + strings.Repeat("a", 256), bad: true},
	}
	for _, tt := range tests {
		parent, leaf, err := parsePath(tt.path)
		if tt.bad != errors.Is(err, ErrInvalid) || (!tt.bad && (parent != tt.parent || leaf != tt.leaf)) {
			t.Errorf("%q: %q, %q, %v", tt.path, parent, leaf, err)
		}
	}
}

func TestParseMounts(t *testing.T) {
	const info = `23 1 254:0 / / rw,relatime - ext4 /dev/root rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
90 80 0:32 /a /run/ctr\040x/sys/fs/cgroup/memory ro,relatime - cgroup cgroup rw,memory
91 80 0:38 / /run/other rw,relatime - cgroup2 cgroup2 rw
`
	all, err := parseMounts(strings.NewReader(info))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 6 || all[4].point != "/run/ctr x/sys/fs/cgroup/memory" || !all[4].readonly {
		t.Fatalf("parsed %+v", all)
	}
	var got []string
	for _, m := range choose(all, mountBase) {
		got = append(got, m.point+" "+strings.Join(m.controllers, "+"))
	}
	want := []string{
		"/sys/fs/cgroup/cpu,cpuacct cpu+cpuacct",
		"/sys/fs/cgroup/memory memory",
		"/sys/fs/cgroup/systemd name=systemd",
		"/sys/fs/cgroup/unified ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestChoosePrefersWritable(t *testing.T) {
	got := choose([]mount{
		{point: "/sys/fs/cgroup", unified: true, readonly: true},
		{point: "/mnt/cgroup", unified: true},
	}, mountBase)
	if len(got) != 1 || got[0].point != "/mnt/cgroup" {
		t.Errorf("chose %+v", got)
	}
}

func TestMissingControllers(t *testing.T) {
	got := missingControllers("cpuset cpu io memory hugetlb pids rdma misc", "cpu pids")
	if diff := cmp.Diff([]string{"cpuset", "io", "memory", "hugetlb"}, got); diff != "" {
		t.Error(diff)
	}
	if got := missingControllers("memory", "memory"); got != nil {
		t.Errorf("got %v", got)
	}
}

// fakeDir is a directory of plain files, opened as a group would be.
func fakeDir(t *testing.T, files map[string]string) dir {
	t.Helper()
	at := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(at, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(at, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := dir{os.NewFile(uintptr(fd), at)}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestReadLargeFile(t *testing.T) {
	text := strings.Repeat("4711\n", 5000)
	got, err := fakeDir(t, map[string]string{"cgroup.procs": text}).read("cgroup.procs")
	if err != nil || got != text {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add("35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory")
	f.Add("1 2 3 - cgroup")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseMounts(strings.NewReader(text))
		if err == nil && len(choose(all, mountBase)) > len(all) {
			t.Error("chose more than there is")
		}
	})
}

func TestStuckErrorIsBothReasons(t *testing.T) {
	e := &StuckError{Op: "kill", Path: "/x", Total: 3, Cause: os.ErrDeadlineExceeded, Processes: []StuckProcess{{Pid: 7, Name: "a) b", State: "D", Wait: "f"}}}
	if !errors.Is(e, ErrStuck) || !errors.Is(e, os.ErrDeadlineExceeded) {
		t.Error("a reason is lost")
	}
	want := `kill cgroup "/x": 3 left: 7 ("a) b", state D, waits in f) and 2 more: i/o timeout`
	if e.Error() != want {
		t.Errorf("got  %s\nwant %s", e, want)
	}
}
