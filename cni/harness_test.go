package cni_test

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway/cni"
)

// bench is a network with directories and fake plugins of its own.
type bench struct {
	t                     *testing.T
	conf, bin, cache, log string
	net                   *cni.Network
}

// newBench makes the directories; the configuration directory is empty, and
// the network is opened by open.
func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{t: t, conf: dir + "/net.d", bin: dir + "/bin", cache: dir + "/cache", log: dir + "/log"}
	for _, d := range []string{b.conf, b.bin, b.log} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b.plugin("fake-a")
	b.plugin("fake-b")
	return b
}

func (b *bench) plugin(name string) {
	b.t.Helper()
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(b.bin, name)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) open(timeout time.Duration) *cni.Network {
	b.t.Helper()
	n, err := cni.New(cni.Options{
		ConfDir: b.conf, BinDirs: []string{b.bin}, CacheDir: b.cache, Timeout: timeout,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { n.Close() })
	b.net = n
	return n
}

// chain writes a configuration of fake-a and then fake-b.
func (b *bench) chain(file, name string, first, second map[string]act) {
	b.t.Helper()
	caps := map[string]bool{"portMappings": true, "bandwidth": true, "dns": true, "cgroupPath": true, "io.kubernetes.cri.pod-annotations": true}
	b.write(file, map[string]any{
		"cniVersion": "1.0.0", "name": name,
		"plugins": []any{
			map[string]any{"type": "fake-a", "script": script{Log: b.log, Do: first}},
			map[string]any{"type": "fake-b", "capabilities": caps, "script": script{Log: b.log, Do: second}},
		},
	})
}

func (b *bench) write(file string, v any) {
	b.t.Helper()
	data, err := json.Marshal(v)
	if s, ok := v.(string); ok {
		data = []byte(s)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(b.conf, file), data, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// calls are what the fake plugins saw so far, in order, as "ADD fake-a".
func (b *bench) calls() []call {
	b.t.Helper()
	files, err := filepath.Glob(b.log + "/[0-9]*")
	if err != nil {
		b.t.Fatal(err)
	}
	slices.Sort(files)
	var out []call
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			b.t.Fatal(err)
		}
		var c call
		if err := json.Unmarshal(data, &c); err != nil {
			b.t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

func (b *bench) order() string {
	b.t.Helper()
	var out []string
	for _, c := range b.calls() {
		out = append(out, c.Command+" "+c.Plugin)
	}
	return strings.Join(out, ", ")
}

func (b *bench) wantOrder(want string) {
	b.t.Helper()
	if got := b.order(); got != want {
		b.t.Errorf("plugins ran:\n got %s\nwant %s", got, want)
	}
}

func (b *bench) attempt(p cni.Pod) *cni.Attachment {
	b.t.Helper()
	a, err := b.net.Attempt(p)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

func pod(id string) cni.Pod {
	return cni.Pod{ID: id, Name: "web", Namespace: "default", UID: "0b7e-1", NetNS: "/proc/self/ns/net"}
}

// again takes a record through its form on disk.
func again(t testing.TB, a *cni.Attachment) *cni.Attachment {
	t.Helper()
	data, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	back := &cni.Attachment{}
	if err := json.Unmarshal(data, back); err != nil {
		t.Fatal(err)
	}
	return back
}

// eventually waits for a condition with a generous bound.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 3000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func mustContain(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

func env(c call) map[string]string {
	m := map[string]string{}
	for _, kv := range c.Env {
		k, v, _ := strings.Cut(kv, "=")
		m[k] = v
	}
	return m
}
