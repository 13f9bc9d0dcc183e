package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

func TestReadV2(t *testing.T) {
	d := fakeDir(t, map[string]string{
		"cpu.stat":            "usage_usec 3000\nuser_usec 1000\nsystem_usec 2000\nnr_periods 7\nnr_throttled 2\nthrottled_usec 5\n",
		"memory.current":      "1000\n",
		"memory.max":          "5000\n",
		"memory.stat":         "anon 300\nfile 600\ninactive_file 400\npgfault 11\npgmajfault 2\nslab_reclaimable odd\n",
		"memory.events":       "low 0\nhigh 0\nmax 3\noom 1\noom_kill 4\noom_group_kill 0\n",
		"memory.swap.current": "100\n",
		"memory.swap.max":     "150\n",
		"pids.current":        "6\n",
		"io.stat":             "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n\nnonsense\n259:1 rbytes=9\n",
	})
	var got Stats
	readV2(d, &got)
	want := Stats{
		CPU:    CPUStats{Known: true, Usage: 3 * time.Millisecond, User: time.Millisecond, System: 2 * time.Millisecond, Periods: 7, ThrottledPeriods: 2, Throttled: 5 * time.Microsecond},
		Memory: MemoryStats{Known: true, Usage: 1000, WorkingSet: 600, RSS: 300, Limit: 5000, Available: 4400, Faults: 11, MajorFaults: 2, OOMKills: 4},
		Swap:   SwapStats{Known: true, Usage: 100, Limited: true, Available: 50},
		Tasks:  TaskStats{Known: true, Current: 6},
		IO:     IOStats{Known: true, Devices: []IODevice{{Major: 8, ReadBytes: 1, WriteBytes: 2, Reads: 3, Writes: 4}, {Major: 259, Minor: 1, ReadBytes: 9}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReadV2Nothing(t *testing.T) {
	var got Stats
	readV2(fakeDir(t, map[string]string{"memory.stat": "anon 1\n", "pids.current": "many"}), &got)
	if diff := cmp.Diff(Stats{}, got); diff != "" {
		t.Errorf("an absent controller must read as unknown: %s", diff)
	}
}

func TestReadV1(t *testing.T) {
	d := fakeDir(t, map[string]string{
		"memory.usage_in_bytes":                     "1000\n",
		"memory.limit_in_bytes":                     "9223372036854771712\n",
		"memory.memsw.limit_in_bytes":               "9223372036854771712\n",
		"memory.stat":                               "cache 1\nrss 2\ntotal_rss 300\ntotal_inactive_file 1400\ntotal_pgfault 11\ntotal_pgmajfault 2\ntotal_swap 8\n",
		"memory.oom_control":                        "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
		"blkio.throttle.io_service_bytes_recursive": "8:0 Read 1\n8:0 Write 2\n8:0 Sync 9\n8:0 Total 3\nTotal 3\n",
		"blkio.throttle.io_serviced_recursive":      "8:0 Read 5\n8:0 Write 6\nTotal 11\n",
	})
	var s Stats
	s.Memory.readV1(d, &s.Swap)
	s.IO.readV1(d)
	want := Stats{
		Memory: MemoryStats{Known: true, Usage: 1000, RSS: 300, Faults: 11, MajorFaults: 2, OOMKills: 3},
		Swap:   SwapStats{Known: true, Usage: 8},
		IO:     IOStats{Known: true, Devices: []IODevice{{Major: 8, ReadBytes: 1, WriteBytes: 2, Reads: 5, Writes: 6}}},
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
}

func TestParsePressure(t *testing.T) {
	got := parsePressure("some avg10=1.50 avg60=0.25 avg300=0.00 total=2000\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=1000\n")
	want := Pressure{Known: true, Some: PressureLine{Avg10: 1.5, Avg60: 0.25, Total: 2 * time.Millisecond}, Full: PressureLine{Avg10: 0.5, Total: time.Millisecond}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if parsePressure("").Known {
		t.Error("nothing read must be unknown")
	}
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

func FuzzNumbers(f *testing.F) {
	f.Add("8:0 rbytes=1\nsome avg10=1\nusage_usec 5\n")
	f.Fuzz(func(t *testing.T, text string) { // must not panic on any content
		parsePairs(text, func(string, uint64) {})
		parsePressure(text)
		var s IOStats
		s.addV1(text, func(d *IODevice) (*uint64, *uint64) { return &d.Reads, &d.Writes })
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
