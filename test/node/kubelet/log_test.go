package kubelet

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The kubelet rotates logs while a container writes: no line is lost, doubled or
// torn, and the log can be read through the kubelet.
func TestLogRotation(t *testing.T) {
	k := newKubelet(t)
	k.pod("logs")
	p := k.ready("logs")
	dir := filepath.Join(k.dir, "logs", "default_logs-machine_"+p.Metadata.UID, "writer")
	k.until("four rotations", func() bool {
		entries, _ := os.ReadDir(dir)
		return len(entries) > 4
	})
	k.sh("logs", "writer", "touch /tmp/stop")
	k.until("the last line", func() bool { return strings.HasSuffix(k.log("logs", "writer", "tailLines=1"), " end\n") })
	last := k.log("logs", "writer", "tailLines=1")

	entries, err := os.ReadDir(dir)
	k.must(err)
	slices.SortFunc(entries, func(a, b os.DirEntry) int { // 0.log.TIME[.gz]; 0.log is the youngest
		return strings.Compare(a.Name()+"~", b.Name()+"~")
	})
	var lines []string
	for _, e := range entries {
		lines = append(lines, k.lines(filepath.Join(dir, e.Name()))...)
	}
	t.Logf("%d lines in %d files", len(lines), len(entries))
	for i, line := range lines {
		f := strings.SplitN(line, " ", 4)
		if len(f) != 4 || f[1] != "stdout" || f[2] != "F" {
			t.Fatalf("not a whole line of the CRI log: %q", line)
		}
		if want := fmt.Sprintf("%d ", i+1); !strings.HasPrefix(f[3], want) {
			t.Fatalf("line %d is %q", i+1, line)
		}
	}
	if want := fmt.Sprintf("%d end\n", len(lines)); last != want {
		t.Errorf("the last line is %q, want %q", last, want)
	}
}

// lines of a file of the log, which may be compressed.
func (k *kubelet) lines(file string) []string {
	k.T.Helper()
	f, err := os.Open(file)
	k.must(err)
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(file, ".gz") {
		r, err = gzip.NewReader(f)
		k.must(err)
	}
	b, err := io.ReadAll(r)
	k.must(err)
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}
