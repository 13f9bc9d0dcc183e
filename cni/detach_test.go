package cni_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"slipway/cni"
)

// DEL needs the record alone: configuration gone, network closed, another
// daemon, no cache.
func TestDetachFromTheRecordAlone(t *testing.T) {
	b := newBench(t)
	b.chain("10-net.conflist", "net", nil, nil)
	n := b.open(0)
	full, err := n.Attach(t.Context(), pod("pod1"), b.attempt(pod("pod1")))
	if err != nil {
		t.Fatal(err)
	}
	n.Close()
	if err := errors.Join(os.RemoveAll(b.conf), os.RemoveAll(b.cache)); err != nil {
		t.Fatal(err)
	}
	b.open(0)
	for range 2 { // twice is no error
		if err := b.net.Detach(t.Context(), pod("pod1"), again(t, full)); err != nil {
			t.Fatal(err)
		}
	}
	b.wantOrder("ADD fake-a, ADD fake-b, DEL fake-b, DEL fake-a, DEL fake-b, DEL fake-a")
	if prev, _ := b.calls()[2].Conf["prevResult"].(map[string]any); prev == nil || prev["ips"] == nil {
		t.Errorf("DEL was not told the result: %v", prev)
	}
}

// The configuration of ADD is the one of DEL, whatever the directory says now.
func TestDetachAfterConfigChange(t *testing.T) {
	b := newBench(t)
	b.chain("10-net.conflist", "old", nil, nil)
	b.open(0)
	full, err := b.net.Attach(t.Context(), pod("pod1"), b.attempt(pod("pod1")))
	if err != nil {
		t.Fatal(err)
	}
	b.write("10-net.conflist", `{"cniVersion":"1.0.0","name":"new","plugins":[{"type":"fake-a"}]}`)
	eventually(t, "the new network", func() bool { return b.attempt(pod("pod2")).Network == "new" })
	if err := b.net.Detach(t.Context(), pod("pod1"), full); err != nil {
		t.Fatal(err)
	}
	b.wantOrder("ADD fake-a, ADD fake-b, DEL fake-b, DEL fake-a")
	if name := b.calls()[3].Conf["name"]; name != "old" {
		t.Errorf("DEL on network %v", name)
	}
}

// The daemon died after ADD and before the result was recorded: libcni's cache
// still knows it.
func TestDetachAttemptTakesCachedResult(t *testing.T) {
	b := newBench(t)
	b.chain("10-net.conflist", "net", nil, nil)
	b.open(0)
	attempt := again(t, b.attempt(pod("pod1")))
	if _, err := b.net.Attach(t.Context(), pod("pod1"), attempt); err != nil {
		t.Fatal(err)
	}
	if err := b.net.Detach(t.Context(), pod("pod1"), attempt); err != nil {
		t.Fatal(err)
	}
	if b.calls()[2].Conf["prevResult"] == nil {
		t.Error("DEL was not told the result")
	}
}

// A torn cache file does not matter.
func TestDetachAttemptWithTornCache(t *testing.T) {
	b := newBench(t)
	b.chain("10-net.conflist", "net", nil, nil)
	b.open(0)
	attempt := b.attempt(pod("pod1"))
	if _, err := b.net.Attach(t.Context(), pod("pod1"), attempt); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(b.cache + "/pod1/results/*")
	if len(files) != 1 {
		t.Fatalf("cache files: %v", files)
	}
	if err := os.WriteFile(files[0], []byte(`{"kind":"cniCa`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.net.Detach(t.Context(), pod("pod1"), attempt); err != nil {
		t.Fatal(err)
	}
	b.wantOrder("ADD fake-a, ADD fake-b, DEL fake-b, DEL fake-a")
}

func TestDetachFailsThenWorks(t *testing.T) {
	b := newBench(t)
	b.chain("10-net.conflist", "net", nil, map[string]act{"DEL": {FailFor: 2}})
	b.open(0)
	full, err := b.net.Attach(t.Context(), pod("pod1"), b.attempt(pod("pod1")))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		mustContain(t, b.net.Detach(t.Context(), pod("pod1"), full), `network "net"`, `plugin "fake-b"`, "not yet")
	}
	if err := b.net.Detach(t.Context(), pod("pod1"), full); err != nil {
		t.Fatal(err)
	}
	// The address is given back only when nothing leads to it any more.
	b.wantOrder("ADD fake-a, ADD fake-b, DEL fake-b, DEL fake-b, DEL fake-b, DEL fake-a")
}

// Both ADD and its undoing fail: the error says both, and the attempt still
// undoes it later.
func TestAttachAndUndoFail(t *testing.T) {
	b := newBench(t)
	b.chain("10-net.conflist", "net", nil, map[string]act{"ADD": {Exit: 1, Stderr: "no luck"}, "DEL": {FailFor: 1}})
	b.open(0)
	attempt := b.attempt(pod("pod1"))
	_, err := b.net.Attach(t.Context(), pod("pod1"), attempt)
	mustContain(t, err, "no luck", "undoing it", "not yet")
	if err := b.net.Detach(t.Context(), pod("pod1"), again(t, attempt)); err != nil {
		t.Fatal(err)
	}
	b.wantOrder("ADD fake-a, ADD fake-b, DEL fake-b, DEL fake-b, DEL fake-a")
}

// A namespace that is gone, or a file that no longer is one, is told as "".
func TestDetachWithoutNamespace(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/nonexistent/netns", plain} {
		b := newBench(t)
		b.chain("10-net.conflist", "net", nil, nil)
		b.open(0)
		p := pod("pod1")
		p.NetNS = path
		if err := b.net.Detach(t.Context(), p, b.attempt(p)); err != nil {
			t.Fatal(err)
		}
		for _, c := range b.calls() {
			if ns, there := env(c)["CNI_NETNS"]; ns != "" || !there {
				t.Errorf("%s: DEL with CNI_NETNS=%q", path, ns)
			}
		}
		b.wantOrder("DEL fake-b, DEL fake-a")
	}
}

func TestDetachPluginMissing(t *testing.T) {
	b := newBench(t)
	b.chain("10-net.conflist", "net", nil, nil)
	b.open(0)
	full, err := b.net.Attach(t.Context(), pod("pod1"), b.attempt(pod("pod1")))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(b.bin + "/fake-b"); err != nil {
		t.Fatal(err)
	}
	mustContain(t, b.net.Detach(t.Context(), pod("pod1"), full), `plugin "fake-b" not found in `+b.bin)
	b.plugin("fake-b")
	if err := b.net.Detach(t.Context(), pod("pod1"), full); err != nil {
		t.Fatal(err)
	}
}

func TestDetachHangs(t *testing.T) {
	b := newBench(t)
	b.chain("10-net.conflist", "net", nil, map[string]act{"DEL": {Hang: true}})
	b.open(0)
	full, err := b.net.Attach(t.Context(), pod("pod1"), b.attempt(pod("pod1")))
	if err != nil {
		t.Fatal(err)
	}
	b.open(5 * time.Second)
	mustContain(t, b.net.Detach(t.Context(), pod("pod1"), full), "fake-b", "killed")
	c := b.calls()[2]
	eventually(t, "end of the plugin's child", func() bool { return gone(c.Child) && gone(c.Pid) })
}

// A record is checked as a configuration is: it may have been tampered with.
func TestRecordIsRefused(t *testing.T) {
	b := newBench(t)
	b.chain("10-net.conflist", "net", nil, nil)
	b.open(0)
	for name, change := range map[string]func(*cni.Attachment){
		"another's":     func(a *cni.Attachment) { a.Who = "native" },
		"torn":          func(a *cni.Attachment) { a.Config = []byte(`{"name":`) },
		"a path to run": func(a *cni.Attachment) { a.Config = []byte(`{"name":"n","plugins":[{"type":"../../bin/reboot"}]}`) },
		"another pod's": func(a *cni.Attachment) { a.PodID = "pod2" },
	} {
		a := b.attempt(pod("pod1"))
		change(a)
		if err := b.net.Detach(t.Context(), pod("pod1"), a); !errors.Is(err, cni.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if b.order() != "" {
		t.Errorf("plugins ran: %s", b.order())
	}
}
