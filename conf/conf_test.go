package conf_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"slipway/conf"
)

// files writes a config and its drop-ins into a directory of its own and
// returns the config's path.
func files(t *testing.T, main string, dropIns map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	all := map[string]string{path: main}
	if dropIns != nil {
		if err := os.Mkdir(path+".d", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range dropIns {
		all[filepath.Join(path+".d", name)] = text
	}
	for name, text := range all {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func load(t *testing.T, main string, dropIns map[string]string) conf.Config {
	t.Helper()
	c, err := conf.Load(files(t, main, dropIns), true)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaultIsValidAndRoundTrips(t *testing.T) {
	if err := conf.Default().Validate(); err != nil {
		t.Fatal(err)
	}
	text := string(conf.Default().TOML())
	if got := string(load(t, text, nil).TOML()); got != text {
		t.Errorf("read back:\n%s\nwritten:\n%s", got, text)
	}
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "#") && len(line) > 82 {
			t.Errorf("long comment: %s", line)
		}
	}
}

// Every field has a key in the table, or TOML would not be whole.
func TestEveryFieldHasAKey(t *testing.T) {
	var tags []string
	for f := range reflect.TypeFor[conf.Config]().Fields() {
		if tag := f.Tag.Get("toml"); tag != "" {
			tags = append(tags, tag)
		}
	}
	keys := conf.Keys()
	slices.Sort(tags)
	slices.Sort(keys)
	if !slices.Equal(tags, keys) {
		t.Errorf("fields %v\nkeys   %v", tags, keys)
	}
}

// A value other than the default, in every key, survives the file.
func TestEveryKeyRoundTrips(t *testing.T) {
	const text = `listen = "unix:///tmp/a \"b\".sock"
root = "/a"
state = "/b"
socket_group = "wheel"
log_level = "debug"
log_format = "json"
cni_conf_dir = "/c"
cni_native = false
cni_bin_dirs = [ # two
  "/d", # one
  "/e",
]
netns_dir = "/f"
registry_dir = "/g"
sandbox_image = "h"
cgroup_driver = "systemd"
cgroup_parent = "i.slice"
default_ulimits = ["nofile=1024:524288", "core=0", "memlock=unlimited"]
absent_mount_sources = ["/etc/hostname", "/mnt"]
cdi_spec_dirs = ["/j"]
stream_address = "192.0.2.1:10010"
stream_tls_cert = "/k"
stream_tls_key = "/l"
stream_idle_timeout = "90m"
stream_open_timeout = "1m30s"
stream_max_sessions = 1_000_0
stream_max_sessions_per_pod = 0x10
`
	c := load(t, text, nil)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if at := c.Origin("netns_dir"); !strings.HasSuffix(at, "config.toml:13") {
		t.Errorf("netns_dir is set at %s", at)
	}
	got := load(t, string(c.TOML()), nil)
	if string(got.TOML()) != string(c.TOML()) {
		t.Errorf("read back:\n%s\nwritten:\n%s", got.TOML(), c.TOML())
	}
	defaults, _ := conf.Load("/nonexistent/config.toml", false)
	for i, line := range strings.Split(string(c.Dump()), "\n") {
		if other := strings.Split(string(defaults.Dump()), "\n")[i]; line != "" && strings.Split(line, " #")[0] == strings.Split(other, " #")[0] {
			t.Errorf("no value of its own: %s", line)
		}
	}
	if c.StreamMax != 10000 || c.StreamMaxPod != 16 || c.StreamIdleTimeout.String() != "90m" || c.StreamOpenTimeout.String() != "1m30s" {
		t.Errorf("%s", c.Dump())
	}
	if c.Socket() != `/tmp/a "b".sock` || c.Level().String() != "DEBUG" {
		t.Errorf("socket %q, level %v", c.Socket(), c.Level())
	}
	want := []conf.Ulimit{{Name: "nofile", Soft: 1024, Hard: 524288}, {Name: "core"}, {Name: "memlock", Soft: conf.Unlimited, Hard: conf.Unlimited}}
	if !slices.Equal(c.DefaultUlimits, want) || want[0].Type() != "RLIMIT_NOFILE" {
		t.Errorf("ulimits %v", c.DefaultUlimits)
	}
}

func TestOrder(t *testing.T) {
	c := load(t, "log_level = \"warn\"\ncni_bin_dirs = [\"/x\", \"/y\"]\nabsent_mount_sources = \"reject\"\n", map[string]string{
		"20-b.toml": "log_format = \"json\"\ncni_bin_dirs = [\"/z\"]\n",
		"10-a.toml": "log_format = \"text\"\nlog_level = \"debug\"\nabsent_mount_sources = \"create\"\n",
		"30-c.conf": "not read",
		".40.toml":  "not read",
	})
	if c.LogLevel != "debug" || c.LogFormat != "json" || !slices.Equal(c.CNIBinDirs, []string{"/z"}) || len(c.AbsentMountSources) != 0 {
		t.Errorf("%s", c.Dump())
	}
	if err := c.Set("--log-level", "log_level", "error"); err != nil {
		t.Fatal(err)
	}
	if err := c.Set("--cni-bin-dir", "cni_bin_dirs", "/1", "/2"); err != nil {
		t.Fatal(err)
	}
	dump := string(c.Dump())
	for _, want := range []string{
		`log_level = "error" # --log-level`, `cni_bin_dirs = ["/1", "/2"] # --cni-bin-dir`,
		`config.toml.d/20-b.toml:1`, `root = "/var/lib/slipway" # default`,
	} {
		if !strings.Contains(dump, want) {
			t.Errorf("dump does not say %q:\n%s", want, dump)
		}
	}
	if back := load(t, dump, nil); string(back.TOML()) != string(c.TOML()) {
		t.Error("a dump is not a config file")
	}
}

func TestMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	c, err := conf.Load(path, false)
	if err != nil || string(c.TOML()) != string(conf.Default().TOML()) {
		t.Errorf("missing default file: %v", err)
	}
	if _, err := conf.Load(path, true); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("missing --config: %v", err)
	}
	if err := errors.Join(os.Mkdir(path+".d", 0o755), os.WriteFile(path+".d/a.toml", []byte(`root = "/r"`), 0o600)); err != nil {
		t.Fatal(err)
	}
	if c, err := conf.Load(path, false); err != nil || c.Root != "/r" {
		t.Errorf("drop-in without a main file: %q %v", c.Root, err)
	}
}

func TestFaultsOfTheFile(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unknown key", "root = \"/r\"\n\nlissten = \"x\"\n", `config.toml:3: unknown key "lissten" (did you mean "listen"?)`},
		{"unknown table", "[cni]\nconf_dir = \"/x\"\n", `config.toml:1: unknown key "cni" ("slipway config default" lists all keys)`},
		{"two", "a = 1\nb = 2\n", "config.toml:2: unknown key \"b\""},
		{"wrong type", "root = \"/r\"\nlog_level = 3\n", "config.toml:2: log_level: want a string"},
		{"wrong type in a list", "cni_bin_dirs = [\n\"/a\",\n3]\n", "config.toml:3: cni_bin_dirs: want a list of strings"},
		{"no list", "cni_bin_dirs = \"/a\"\n", "config.toml:1: cni_bin_dirs: want a list of strings"},
		{"a table", "root.x = 1\n", "config.toml:1: root: want a string"},
		{"a table header", "[root]\nx = 1\n", "config.toml:1: root: want a string"},
		{"neither word nor list", "absent_mount_sources = true\n", "config.toml:1: absent_mount_sources: want a string or a list of strings"},
		{"bad ulimit", "\ndefault_ulimits = [\"core=0\", \"files=1\"]\n", `config.toml:2: default_ulimits: ulimit "files=1": the name is none of`},
		{"ulimit upside down", "default_ulimits = [\"core=2:1\"]\n", "soft limit is above the hard"},
		{"bad absent", "absent_mount_sources = \"maybe\"\n", `config.toml:1: absent_mount_sources: "maybe" is neither`},
		{"no number", "\nstream_max_sessions = \"9\"\n", "config.toml:2: stream_max_sessions: want a number"},
		{"a large number", "stream_max_sessions = 99999999999\n", "is not a number of at most 32 bits"},
		{"no duration", "stream_idle_timeout = \"4\"\n", `config.toml:1: stream_idle_timeout: "4" is no duration`},
		{"a number for a duration", "stream_idle_timeout = 4\n", "config.toml:1: stream_idle_timeout: want a duration"},
		{"handlers", "handlers = 1\n", "config.toml:1: handlers: want a table"},
		{"list of handlers", "[[handlers]]\n", "config.toml:1: handlers: want a table [handlers.NAME]"},
		{"key of handlers", "[handlers]\nseccomp_profile = \"/x\"\n", "config.toml:2: handlers.seccomp_profile: want a table"},
		{"key of a handler", "[handlers.a]\n\nsecomp_profile = \"/x\"\n", `config.toml:3: unknown key "handlers.a.secomp_profile" (did you mean "seccomp_profile"?)`},
		{"key of an inline handler", "\nhandlers.a = { nope = 1 }\n", `config.toml:2: unknown key "handlers.a.nope"`},
		{"table of a handler", "[handlers.a.b]\nx = 1\n", `config.toml:1: unknown key "handlers.a.b"`},
		{"type in a handler", "[handlers.a]\nprivileged_without_host_devices = \"yes\"\n", "config.toml:2: handlers.a.privileged_without_host_devices: want true or false"},
		{"name of a handler", "\n[handlers.\"a b\"]\n", `config.toml:2: handlers: "a b" is no name of a handler`},
		{"twice in a handler", "[handlers.a]\nseccomp_profile = \"/x\"\nseccomp_profile = \"/y\"\n", "config.toml:3: "},
		{"twice", "root = \"/r\"\nroot = \"/s\"\n", "config.toml:2: "},
		{"no TOML", "root = \"/r\"\n}\n", "config.toml:2: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := files(t, test.text, nil)
			_, err := conf.Load(path, true)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), filepath.Dir(path)) {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
	path := files(t, "", map[string]string{"10.toml": "nope = 1"})
	if _, err := conf.Load(path, true); err == nil || !strings.Contains(err.Error(), path+".d/10.toml:1: unknown key") {
		t.Errorf("fault of a drop-in: %v", err)
	}
}

func TestValidate(t *testing.T) {
	long := "/" + strings.Repeat("s", 107)
	tests := []struct{ key, value, want string }{
		{"listen", "tcp://0.0.0.0:1", "is not a unix socket"},
		{"listen", "/run/x.sock", "is not a unix socket"},
		{"listen", "unix://run/x.sock", "not an absolute path"},
		{"listen", "unix://" + long, "108 bytes, and 107 is the most"},
		{"state", long[:100], "112 bytes, and 107 is the most"},
		{"root", "", "is empty"},
		{"root", "var", "not an absolute path"},
		{"root", "/", "whole machine"},
		{"root", "/a/../b", `write "/b"`},
		{"root", "/a\nb", "control character"},
		{"root", "/run/slipway", "two separate directories"},
		{"root", "/run/slipway/x", "which a reboot empties"},
		{"state", "/var/lib/slipway/x", "two separate directories"},
		{"log_level", "loud", "none of debug, info, warn, error"},
		{"log_format", "xml", "none of text, json"},
		{"cni_bin_dirs", "bin", `"bin" is not an absolute path`},
		{"cni_bin_dirs", "/a:/b", "colon"},
		{"socket_group", "a b", "not a group name"},
		{"socket_group", "-1", "not a group number"},
		{"sandbox_image", "a b", "not an image name"},
		{"cgroup_parent", "slipway", "not an absolute path"},
		{"cgroup_parent", "/a/../b", "shortest form"},
		{"default_ulimits", "core=0 core=1", `"core" twice`},
		{"absent_mount_sources", "/mnt/", `write "/mnt"`},
		{"cdi_spec_dirs", "cdi", `"cdi" is not an absolute path`},
		{"stream_address", "localhost:0", "is not an address"},
		{"stream_address", "127.0.0.1", "is not an address"},
		{"stream_address", "0.0.0.0:10010", "is every address"},
		{"stream_address", "192.0.2.1:10010", "sessions would cross the network in clear: set stream_tls_cert"},
		{"stream_tls_cert", "cert.pem", "not an absolute path"},
		{"stream_idle_timeout", "10ms", "is less than 1s"},
		{"stream_open_timeout", "-1s", "is less than 1s"},
		{"stream_max_sessions", "0", "is not in 1..1048576"},
		{"stream_max_sessions_per_pod", "-1", "is not in 1..1048576"},
	}
	for _, test := range tests {
		c := conf.Default()
		values := []string{test.value}
		if test.key == "default_ulimits" {
			values = strings.Fields(test.value)
		}
		if err := c.Set("--"+test.key, test.key, values...); err != nil {
			t.Errorf("%s: %v", test.key, err)
			continue
		}
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "--"+test.key) && !strings.Contains(err.Error(), "in root") {
			t.Errorf("%s = %q:\n got %v\nwant %s", test.key, test.value, err, test.want)
		}
	}
	pair := conf.Default()
	pair.StreamTLSCert = "/cert.pem"
	if err := pair.Validate(); err == nil || !strings.Contains(err.Error(), `stream_tls_key = "": is empty: stream_tls_cert needs it`) {
		t.Errorf("a certificate without a key: %v", err)
	}
	c := load(t, "\nlog_level = \"loud\"\nlisten = \"x\"\n", nil)
	err := c.Validate()
	for _, want := range []string{"config.toml:2: log_level = \"loud\": is none", "config.toml:3: listen = \"x\": is not"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestSetIsRefused(t *testing.T) {
	c := conf.Default()
	for _, err := range []error{
		c.Set("--x", "rooot", "/r"), c.Set("--x", "root", "/r", "/s"), c.Set("--x", "root"),
		c.Set("--x", "default_ulimits", "nofile"), c.Set("--x", "absent_mount_sources", "mnt"),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "--x: ") {
			t.Errorf("got %v", err)
		}
	}
}

func TestReload(t *testing.T) {
	was, next := conf.Default(), conf.Default()
	next.LogLevel, next.Root, next.Listen = "debug", "/elsewhere", "unix:///x"
	next.SandboxImage, next.AbsentMountSources = "p", conf.Absent{"/"}
	got, wait := was.Reload(next)
	if got.LogLevel != "debug" || got.SandboxImage != "p" || len(got.AbsentMountSources) != 0 || got.Root != was.Root || got.Listen != was.Listen {
		t.Errorf("%s", got.Dump())
	}
	if next.Handlers = map[string]*conf.Handler{"a": {}}; true {
		_, wait := was.Reload(next)
		if !slices.Contains(wait, "handlers") {
			t.Errorf("waiting for a restart: %v", wait)
		}
	}
	if !slices.Equal(wait, []string{"listen", "root", "absent_mount_sources"}) {
		t.Errorf("waiting for a restart: %v", wait)
	}
	if was.LogLevel != "info" {
		t.Error("the old settings changed")
	}
}

// Whatever the file holds: an error, or settings that can be written and read.
func FuzzLoad(f *testing.F) {
	f.Add(string(conf.Default().TOML()))
	f.Add("listen = 1\n[a.b]\nc = [[1], {d = 2}]\n")
	f.Add("\"root\" = '''\n/x'''\nroot.x = 1")
	f.Add("[handlers.a]\ndefault_ulimits = []\n[handlers]\nb = { apparmor_profile = '/x' }\nb.seccomp_profile = '/y'\n")
	f.Add("stream_max_sessions = 0b11\nstream_idle_timeout = '1ns'\n[[handlers.a]]\n[a.b.c]\nhandlers = {}\n")
	f.Add("default_ulimits = [\"nofile=-1:\"]\nabsent_mount_sources = []")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "c.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := conf.Load(path, true)
		if err != nil {
			return
		}
		_ = c.Validate()
		again := load(t, string(c.TOML()), nil)
		if string(again.TOML()) != string(c.TOML()) {
			t.Errorf("read back:\n%s\nwritten:\n%s", again.TOML(), c.TOML())
		}
	})
}
