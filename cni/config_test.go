package cni_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"slipway/cni"
)

func one(name string) string {
	return `{"cniVersion":"1.0.0","name":"` + name + `","plugins":[{"type":"fake-a"}]}`
}

// shown is what Config shows.
func shown(t *testing.T, n *cni.Network) (r struct {
	File, Network, PodCIDR, NotReady string
	Bad                              []string
},
) {
	t.Helper()
	data, err := json.Marshal(n.Config())
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFirstValidFileWins(t *testing.T) {
	b := newBench(t)
	b.write("05-notes.txt", "not looked at")
	b.write(".06-hidden.conflist", one("hidden"))
	b.write("07-torn.conflist", `{"name":`)
	b.write("20-second.conflist", one("second"))
	b.write("10-single.conf", `{"cniVersion":"1.0.0","name":"single","type":"fake-a","x":1}`)
	b.open(0)
	if err := b.net.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := shown(t, b.net)
	if r.File != "10-single.conf" || r.Network != "single" {
		t.Errorf("in use: %q %q", r.File, r.Network)
	}
	if len(r.Bad) != 1 || !strings.Contains(r.Bad[0], "07-torn.conflist") {
		t.Errorf("bad: %q", r.Bad)
	}
}

func TestNotReady(t *testing.T) {
	tests := []struct {
		name, file, content string
		want                []string
	}{
		{"no file", "", "", []string{"no network configuration", "/net.d"}},
		{"empty", "10-x.conflist", " ", []string{"10-x.conflist", "empty", "/net.d"}},
		{"torn", "10-x.conflist", `{"name":"x"`, []string{"10-x.conflist", "unexpected end"}},
		{"not an object", "10-x.json", `[]`, []string{"10-x.json"}},
		{"no plugins", "10-x.conflist", `{"name":"x","cniVersion":"1.0.0"}`, []string{"10-x.conflist", "no plugins"}},
		{"no type", "10-x.conf", `{"name":"x","cniVersion":"1.0.0"}`, []string{"10-x.conf"}},
		{"no name", "10-x.conf", `{"type":"fake-a"}`, []string{"10-x.conf", "missing network name"}},
		{"a path as name", "10-x.conflist", `{"name":"../x","plugins":[{"type":"fake-a"}]}`, []string{"10-x.conflist", "network name"}},
		{"a path to run", "10-x.conflist", `{"name":"x","plugins":[{"type":"../bin/reboot"}]}`, []string{"10-x.conflist", "../bin/reboot", "bare name"}},
		{"an absolute path to run", "10-x.conflist", `{"name":"x","plugins":[{"type":"/sbin/reboot"}]}`, []string{"bare name"}},
		{"NUL in the type", "10-x.conflist", `{"name":"x","plugins":[{"type":"fake-a\u0000"}]}`, []string{"bare name"}},
		{"a path as address manager", "10-x.conflist", `{"name":"x","plugins":[{"type":"fake-a","ipam":{"type":"../x"}}]}`, []string{"../x", "bare name"}},
		{"a version of the future", "10-x.conflist", `{"name":"x","cniVersion":"9.0.0","plugins":[{"type":"fake-a"}]}`, []string{"9.0.0", "1.1.0"}},
		{"plugin missing", "10-x.conflist", `{"name":"x","plugins":[{"type":"nope"}]}`, []string{`"x"`, `"nope" not found in `, "/bin"}},
		{"address manager missing", "10-x.conflist", `{"name":"x","plugins":[{"type":"fake-a","ipam":{"type":"nope"}}]}`, []string{`"nope" not found`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			if test.file != "" {
				b.write(test.file, test.content)
			}
			b.open(0)
			err := b.net.Status(t.Context())
			mustContain(t, err, test.want...)
			if !errors.Is(err, cni.ErrNotReady) {
				t.Errorf("%v is not ErrNotReady", err)
			}
			if _, err := b.net.Attempt(pod("pod1")); !errors.Is(err, cni.ErrNotReady) {
				t.Errorf("attempt: %v is not ErrNotReady", err)
			}
		})
	}
}

func TestSpecialFilesDoNotHang(t *testing.T) {
	b := newBench(t)
	if err := syscall.Mkfifo(b.conf+"/10-fifo.conflist", 0o600); err != nil {
		t.Fatal(err)
	}
	b.write("11-huge.conflist", strings.Repeat(" ", 2<<20))
	b.open(0)
	mustContain(t, b.net.Status(t.Context()), "not a regular file", "longer than 1048576 bytes")
}

// Plugins that the specification 1.1 lets a network keep in a folder are part
// of the record.
func TestPluginsInFolder(t *testing.T) {
	b := newBench(t)
	b.write("10-net.conflist", map[string]any{"cniVersion": "1.1.0", "name": "net", "plugins": []any{
		map[string]any{"type": "fake-a", "script": script{Log: b.log}},
	}})
	if err := os.Mkdir(b.conf+"/net", 0o755); err != nil {
		t.Fatal(err)
	}
	b.write("net/20-b.conf", map[string]any{"type": "fake-b", "script": script{Log: b.log}})
	b.open(0)
	full, err := b.net.Attach(t.Context(), pod("pod1"), b.attempt(pod("pod1")))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(b.conf); err != nil {
		t.Fatal(err)
	}
	if err := b.net.Detach(t.Context(), pod("pod1"), again(t, full)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range b.calls() {
		if c.Command != "STATUS" { // asked besides, since 1.1.0 has it
			got = append(got, c.Command+" "+c.Plugin)
		}
	}
	if want := "ADD fake-a, ADD fake-b, DEL fake-b, DEL fake-a"; strings.Join(got, ", ") != want {
		t.Errorf("plugins ran: %s, want %s", got, want)
	}
}

func TestDirectoryComesAndGoes(t *testing.T) {
	b := newBench(t)
	if err := os.RemoveAll(b.conf); err != nil {
		t.Fatal(err)
	}
	b.open(0)
	mustContain(t, b.net.Status(t.Context()), b.conf)
	ready := func() bool { return b.net.Status(t.Context()) == nil }
	for range 3 {
		if err := os.Mkdir(b.conf, 0o755); err != nil {
			t.Fatal(err)
		}
		b.write("10-net.conflist", one("net"))
		eventually(t, "ready", ready)
		if err := os.Rename(b.conf, b.conf+".old"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "not ready", func() bool { return !ready() })
		if err := os.RemoveAll(b.conf + ".old"); err != nil {
			t.Fatal(err)
		}
	}
}

// An edit that goes wrong does not move pods to the next network; taking the
// file away does.
func TestBadEditKeepsTheNetwork(t *testing.T) {
	b := newBench(t)
	b.write("10-main.conflist", one("main"))
	b.write("87-other.conflist", one("other"))
	b.open(0)
	b.write("10-main.conflist", `{"name":"main",`)
	eventually(t, "the file is named", func() bool { return len(shown(t, b.net).Bad) == 1 })
	if got := b.attempt(pod("pod1")).Network; got != "main" {
		t.Errorf("network %q, want the last good content of the first file", got)
	}
	b.write("10-main.conflist", one("better"))
	eventually(t, "the new content", func() bool { return b.attempt(pod("pod1")).Network == "better" })
	if err := os.Remove(b.conf + "/10-main.conflist"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the next file", func() bool { return b.attempt(pod("pod1")).Network == "other" })
}

// STATUS is asked where the version has it, and a plugin that hangs in it
// holds up neither Status nor a new configuration.
func TestStatusVerb(t *testing.T) {
	b := newBench(t)
	status := func(name string, a act) {
		b.write("10-net.conflist", map[string]any{"cniVersion": "1.1.0", "name": name, "plugins": []any{
			map[string]any{"type": "fake-a", "script": script{Log: b.log, Do: map[string]act{"STATUS": a}}},
		}})
	}
	status("net", act{Exit: 1, Stdout: `{"cniVersion":"1.1.0","code":50,"msg":"no agent"}`})
	b.open(0)
	eventually(t, "the plugin's word", func() bool {
		err := b.net.Status(t.Context())
		return err != nil && errors.Is(err, cni.ErrNotReady) && strings.Contains(err.Error(), "no agent")
	})
	status("net", act{Hang: true})
	eventually(t, "no answer yet", func() bool {
		err := b.net.Status(t.Context())
		return err != nil && strings.Contains(err.Error(), "has not answered STATUS")
	})
	b.write("10-net.conflist", one("old"))
	eventually(t, "ready", func() bool { return b.net.Status(t.Context()) == nil })
	if err := b.net.Close(); err != nil { // ends the plugin that hangs
		t.Fatal(err)
	}
	for _, c := range b.calls() {
		if c.Child > 0 {
			eventually(t, "end of the plugin's child", func() bool { return gone(c.Child) })
		}
	}
}

// What everybody may replace is not run as root.
func TestOpenPluginIsRefused(t *testing.T) {
	b := newBench(t)
	b.write("10-net.conflist", `{"name":"net","plugins":[{"type":"mine"}]}`)
	path := b.bin + "/mine"
	for _, test := range []struct {
		mode os.FileMode
		want string
	}{{0o644, "not executable"}, {0o777, "written by everybody"}} {
		if err := errors.Join(os.WriteFile(path, []byte("#!/bin/false"), 0o600), os.Chmod(path, test.mode)); err != nil {
			t.Fatal(err)
		}
		b.open(0)
		mustContain(t, b.net.Status(t.Context()), test.want, path)
	}
	if err := errors.Join(os.Chmod(path, 0o755), os.Chmod(b.bin, 0o777)); err != nil {
		t.Fatal(err)
	}
	b.open(0)
	mustContain(t, b.net.Status(t.Context()), "plugin directory", "written by everybody")
}

func TestPodCIDR(t *testing.T) {
	b := newBench(t)
	b.open(0)
	b.net.SetPodCIDR("10.1.0.0/24,fd00::/64")
	b.net.SetPodCIDR("nonsense")
	if got := shown(t, b.net).PodCIDR; got != "10.1.0.0/24,fd00::/64" {
		t.Errorf("pod ranges %q", got)
	}
}

func TestOptionsAreRefused(t *testing.T) {
	good := cni.Options{ConfDir: "/a", BinDirs: []string{"/b"}, CacheDir: "/c"}
	for name, change := range map[string]func(*cni.Options){
		"relative": func(o *cni.Options) { o.ConfDir = "a" },
		"no cache": func(o *cni.Options) { o.CacheDir = "" },
		"no bin":   func(o *cni.Options) { o.BinDirs = nil },
		"colon":    func(o *cni.Options) { o.BinDirs = []string{"/b:/c"} },
	} {
		o := good
		change(&o)
		if _, err := cni.New(o); !errors.Is(err, cni.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}
