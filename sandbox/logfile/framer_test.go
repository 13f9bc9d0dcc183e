package logfile_test

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"slipway/sandbox/logfile"
)

var update = flag.Bool("update", false, "rewrite golden files")

func at() time.Time {
	return time.Date(2026, 1, 2, 16, 4, 5, 6700, time.FixedZone("", 3600))
}

// write frames data as one batch through a destination of the given capacity.
func write(f *logfile.Framer, s logfile.Stream, data []byte, space int) []byte {
	var all []byte
	f.Begin(at())
	for len(data) > 0 {
		var out []byte
		out, data = f.Frame(make([]byte, 0, space), s, data)
		if len(out) == 0 {
			panic("no progress")
		}
		all = append(all, out...)
	}
	return all
}

func TestGolden(t *testing.T) {
	var f logfile.Framer
	var got []byte
	add := func(s logfile.Stream, data string) {
		got = append(got, write(&f, s, []byte(data), logfile.MinSpace)...)
	}
	add(logfile.Stdout, "one\ntwo\n\nno newline")
	add(logfile.Stderr, "between\n")
	add(logfile.Stdout, " yet\n")
	add(logfile.Stdout, "carriage return\r\nzero \x00 byte\n\xff\xfe\n")
	add(logfile.Stdout, strings.Repeat("a", logfile.MaxLine)+"\n")
	add(logfile.Stdout, strings.Repeat("b", logfile.MaxLine+1)+"\n")
	add(logfile.Stderr, "lost from here")
	f.Begin(at())
	got = f.Dropped(got, 12345, "no space left on device")
	add(logfile.Stderr, "ends in the middle")
	f.Begin(at())
	got = f.Finish(got)
	got = f.Finish(got)

	const name = "testdata/framed.golden"
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("framed output differs from %s:\n%s", name, got)
	}
}

// parse undoes the framing of one stream and checks each line on the way.
func parse(t testing.TB, log []byte, s logfile.Stream) []byte {
	var data []byte
	for len(log) > 0 {
		i := bytes.IndexByte(log, '\n')
		if i < 0 {
			t.Fatalf("last line has no end: %q", log)
		}
		line := log[:i]
		log = log[i+1:]
		p := strings.SplitN(string(line), " ", 4)
		if len(p) != 4 || p[2] != "F" && p[2] != "P" {
			t.Fatalf("not a log line: %.80q", line)
		}
		if when, err := time.Parse(time.RFC3339Nano, p[0]); err != nil || !when.Equal(at()) {
			t.Fatalf("timestamp %q: %v", p[0], err)
		}
		if len(p[3]) > logfile.MaxLine {
			t.Fatalf("content of %d bytes", len(p[3]))
		}
		if p[1] == s.String() {
			data = append(data, p[3]...)
			if p[2] == "F" {
				data = append(data, '\n')
			}
		}
	}
	return data
}

// FuzzBytesInBytesOut: whatever is written in whatever pieces comes back when the log is read.
func FuzzBytesInBytesOut(f *testing.F) {
	f.Add([]byte("a\nb"), []byte("\n\n"), uint64(1))
	f.Add(bytes.Repeat([]byte("x"), 3*logfile.MaxLine), []byte(""), uint64(2))
	f.Add(bytes.Repeat([]byte("\n"), 100), []byte("e"), uint64(3))
	f.Fuzz(func(t *testing.T, out, err []byte, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		var fr logfile.Framer
		var log []byte
		in := [2][]byte{out, err}
		for len(in[0])+len(in[1]) > 0 {
			s := logfile.Stream(r.IntN(2))
			n := r.IntN(min(len(in[s]), logfile.Batch) + 1)
			log = append(log, write(&fr, s, in[s][:n], logfile.MinSpace+r.IntN(1000))...)
			in[s] = in[s][n:]
		}
		st := fr.State()
		log = fr.Finish(log)
		for s, want := range [2][]byte{out, err} {
			if st[s] != (len(want) > 0 && want[len(want)-1] != '\n') {
				t.Errorf("stream %d stands in the middle of a line: %v", s, st[s])
			}
			if st[s] {
				want = append(bytes.Clone(want), '\n')
			}
			if got := parse(t, log, logfile.Stream(s)); !bytes.Equal(got, want) {
				t.Errorf("stream %d: %d bytes in, %d out", s, len(want), len(got))
			}
		}
	})
}

// TestRestore: a batch that is taken back and framed again gives the same lines.
func TestRestore(t *testing.T) {
	var f logfile.Framer
	write(&f, logfile.Stderr, []byte("part"), logfile.MinSpace)
	st := f.State()
	first := write(&f, logfile.Stderr, []byte("ial\nx"), logfile.MinSpace)
	f.Restore(st)
	if again := write(&f, logfile.Stderr, []byte("ial\nx"), logfile.MinSpace); !bytes.Equal(first, again) {
		t.Errorf("first %q, again %q", first, again)
	}
	if f.State() != (logfile.State{false, true}) {
		t.Errorf("state %v", f.State())
	}
}

func TestFrameAllocatesNothing(t *testing.T) {
	var f logfile.Framer
	data := bytes.Repeat([]byte(strings.Repeat("x", 99)+"\n"), logfile.Batch/100)
	dst := make([]byte, 0, 2*logfile.Batch)
	if n := testing.AllocsPerRun(100, func() {
		f.Begin(time.Now())
		f.Frame(dst, logfile.Stdout, data)
	}); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

func BenchmarkFrame100(b *testing.B) {
	var f logfile.Framer
	data := bytes.Repeat([]byte(strings.Repeat("x", 99)+"\n"), logfile.Batch/100)
	dst := make([]byte, 0, 2*logfile.Batch)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		f.Begin(time.Now())
		f.Frame(dst, logfile.Stdout, data)
	}
}
