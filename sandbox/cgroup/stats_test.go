package cgroup

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func detail(g *Group) (Detail, error) {
	m, err := g.tree.Meter(g.Path())
	if err != nil {
		return Detail{}, err
	}
	defer m.Close()
	return m.Detail()
}

func mustDetail(t *testing.T, g *Group) Detail {
	t.Helper()
	d, err := detail(g)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A fixture is the files of a group as one kernel writes them. Each begins with a
// line "-- CONTROLLER FILE --"; "-" is the cgroup2 tree beside v1.
type fixture map[control]string

func readFixture(t testing.TB, path string) fixture {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files := fixture{}
	var at control
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 4 && f[0] == "--" && f[3] == "--" {
			at = control{strings.TrimPrefix(f[1], "-"), f[2]}
			files[at] = ""
			continue
		}
		files[at] += line
	}
	return files
}

func (f fixture) open(c control) ([]byte, bool) {
	text, ok := f[c]
	return []byte(text), ok
}

func (f fixture) detail(v2 bool, sizes []string) (d Detail) {
	all := controlsV1()
	if v2 {
		all = controlsV2()
	}
	d.Stats.read(func(i int) ([]byte, bool) { return f.open(all[i]) }, v2)
	d.read(f.open, v2, sizes)
	return d
}

// update rewrites the golden files: go test -run Golden -update.
var update = flag.Bool("update", false, "rewrite testdata")

func TestGoldenStats(t *testing.T) {
	found, err := filepath.Glob("testdata/stats/*.txt")
	if err != nil || len(found) < 3 {
		t.Fatalf("fixtures: %q, %v", found, err)
	}
	for _, path := range found {
		t.Run(filepath.Base(path), func(t *testing.T) {
			v2 := strings.HasPrefix(filepath.Base(path), "v2")
			got, err := json.MarshalIndent(readFixture(t, path).detail(v2, []string{"2MB", "1GB"}), "", "\t")
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(path, ".txt") + ".json"
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(strings.TrimSpace(string(want)), string(got)); d != "" {
				t.Error(d)
			}
		})
	}
}

// What a host does not count is unknown, and not zero.
func TestStatsOfNothing(t *testing.T) {
	for _, v2 := range []bool{false, true} {
		f := fixture{
			{"memory", "memory.stat"}: "anon 1\ntotal_rss 1\n", {"pids", "pids.current"}: "many\n",
			{"", "cpu.pressure"}: "", {"cpu", "cpu.max"}: "\n",
		}
		if d := cmp.Diff(Detail{}, f.detail(v2, []string{"2MB"})); d != "" {
			t.Errorf("v2=%v: %s", v2, d)
		}
	}
}

func TestParseNumber(t *testing.T) {
	for text, want := range map[string]Number{
		"12\n": {12, true}, "max\n": {math.MaxUint64, true}, "-1\n": {math.MaxUint64, true},
		"18446744073709551615": {math.MaxUint64, true}, "18446744073709551616": {}, "99999999999999999999999": {},
		"": {}, "\n": {}, "1 2": {}, "x": {}, "-2": {},
	} {
		n, ok := parseNumber([]byte(text))
		if got := (Number{n, ok}); got != want && (ok || want.Known) {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}

func TestSharesOfWeight(t *testing.T) {
	for weight, want := range map[uint64]uint64{1: 2, 100: 1024, 10000: 262144, 0: 2, 1 << 60: 262144} {
		if got := sharesOfWeight(weight); got != want {
			t.Errorf("weight %d: %d shares, want %d", weight, got, want)
		}
	}
}

func FuzzStats(f *testing.F) {
	found, _ := filepath.Glob("testdata/stats/*.txt")
	for _, path := range found {
		for _, text := range readFixture(f, path) {
			f.Add([]byte(text))
		}
	}
	f.Add([]byte("some avg10=NaN avg60=-1 avg300=1e300 total=99999999999999999999\nfull total"))
	f.Add([]byte("some avg10=0.00 avg60=0.00 avg300=0.00 total=18446744073709551615\nfull total=9223372036854775808"))
	f.Add([]byte("8:0 rbytes=\nanon N=1 Nx=2 N0\n8:"))
	f.Fuzz(func(t *testing.T, text []byte) { // every file holds the same
		for _, v2 := range []bool{false, true} {
			all := controlsV1()
			if v2 {
				all = controlsV2()
			}
			var d Detail
			d.Stats.read(func(i int) ([]byte, bool) { return text, all[i].file != "" }, v2)
			d.read(func(control) ([]byte, bool) { return text, true }, v2, []string{"2MB"})
			m := d.Memory
			if m.WorkingSet > m.Usage || m.Available > m.Limit {
				t.Errorf("v2=%v: memory %+v", v2, m)
			}
			for _, p := range []Pressure{d.IO, m.Pressure, d.CPU.Pressure} {
				for _, l := range []PressureLine{p.Some, p.Full} {
					if l.Total < 0 || !(l.Avg10 >= 0 && l.Avg60 >= 0 && l.Avg300 >= 0) {
						t.Errorf("pressure %+v", p)
					}
				}
			}
		}
	})
}

// openFiles counts this process's.
func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// A meter holds its files while it is open, and says so when the group is gone;
// a removal does not wait for it.
func TestMeter(t *testing.T) {
	tree, at := testTree(t)
	g := mustCreate(t, tree, at+"/x")
	before := openFiles(t)
	m, err := tree.Meter(at + "/x")
	if err != nil {
		t.Fatal(err)
	}
	if got := openFiles(t) - before; got != m.open() || got < 3 || tree.held.Load() != int64(got) {
		t.Errorf("%d more files are open, the meter says %d, the tree %d", got, m.open(), tree.held.Load())
	}
	if s, err := m.Stats(); err != nil || !s.CPU.Known || s.Time.IsZero() {
		t.Errorf("stats %+v, %v", s, err)
	}
	if n, err := m.Processes(); n != 0 || err != nil {
		t.Errorf("%d processes, %v", n, err)
	}
	_, out := start(t, g, nil, "sh", "-c", "sleep 60 & echo up; wait")
	waitLine(t, out, "up")
	if n, err := m.Processes(); n != 2 || err != nil {
		t.Errorf("%d processes, want 2: %v", n, err)
	}
	fast, err := m.Pids()
	slow, err2 := g.Pids()
	slices.Sort(fast)
	if d := cmp.Diff(slow, fast); d != "" || err != nil || err2 != nil {
		t.Errorf("%v, %v: %s", err, err2, d)
	}
	child, err := g.Child("exec")
	if err != nil {
		t.Fatal(err)
	}
	_, out = start(t, child, nil, "sh", "-c", "echo up; exec sleep 60")
	waitLine(t, out, "up")
	if n, err := m.Processes(); n != 3 || err != nil {
		t.Errorf("%d processes with those of an exec, want 3: %v", n, err)
	}
	if err := errors.Join(g.Kill(context.Background()), g.Remove(context.Background())); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Stats(); !errors.Is(err, ErrNotFound) {
		t.Errorf("stats of what is gone: %v", err)
	}
	if _, err := m.Detail(); !errors.Is(err, ErrNotFound) {
		t.Errorf("detail of what is gone: %v", err)
	}
	if _, err := m.Processes(); !errors.Is(err, ErrNotFound) {
		t.Errorf("processes of what is gone: %v", err)
	}
	with := openFiles(t)
	for range 2 {
		_ = m.Close()
	}
	if _, err := m.Stats(); !errors.Is(err, ErrNotFound) || tree.held.Load() != 0 || openFiles(t) != with-m.open() {
		t.Errorf("after close: %v; %d files open, %d before, %d held", err, openFiles(t), with, tree.held.Load())
	}
	_ = child.Close()
}

// A node whose file limit is low has statistics all the same.
func TestMeterWithoutFiles(t *testing.T) {
	tree, at := testTree(t)
	mustCreate(t, tree, at+"/x")
	tree.held.Store(math.MaxInt64 / 2)
	defer tree.held.Store(0)
	m, err := tree.Meter(at + "/x")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.open() != 0 {
		t.Errorf("%d files are held beyond the limit", m.open())
	}
	if s, err := m.Stats(); err != nil || !s.CPU.Known {
		t.Errorf("stats %+v, %v", s, err)
	}
}

// Readings and Close at the same time: no file is read after it is closed.
func TestMeterConcurrent(t *testing.T) {
	tree, at := testTree(t)
	mustCreate(t, tree, at+"/x")
	for range 50 {
		m, err := tree.Meter(at + "/x")
		if err != nil {
			t.Fatal(err)
		}
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				for range 5 {
					if _, err := m.Stats(); err != nil && !errors.Is(err, ErrNotFound) {
						t.Error(err)
					}
				}
			})
		}
		wait.Go(func() { _ = m.Close() })
		wait.Wait()
	}
	if n := tree.held.Load(); n != 0 {
		t.Errorf("%d files are held", n)
	}
}

// A file that is longer than the buffer is read whole.
func TestReadWhole(t *testing.T) {
	text := strings.Repeat("pgfault 4711\n", 5000)
	path := filepath.Join(t.TempDir(), "memory.stat")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	buf := make([]byte, 16)
	if n, err := readWhole(fd, &buf); err != nil || string(buf[:n]) != text {
		t.Errorf("%d bytes, %v", n, err)
	}
}
