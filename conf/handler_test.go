package conf_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"slipway/conf"
)

// Handlers are merged key by key, whichever way TOML writes them.
func TestHandlers(t *testing.T) {
	c := load(t, `root = "/r"
[handlers.empty]
[handlers.strict]
seccomp_profile = "/etc/strict.json"
default_ulimits = ["core=0"]
[handlers]
inline = { privileged_without_host_devices = true, privileged_without_host_devices_all_devices_allowed = true }
dotted.apparmor_profile = "mine"
`, map[string]string{
		"10.toml": "handlers.strict.default_ulimits = [\"core=1\"]\n[handlers.inline]\nprivileged_without_host_devices_all_devices_allowed = false\ndefault_ulimits = []\n",
	})
	want := map[string]*conf.Handler{
		"empty":  {},
		"strict": {SeccompProfile: "/etc/strict.json", DefaultUlimits: []conf.Ulimit{{Name: "core", Soft: 1, Hard: 1}}},
		"inline": {PrivilegedWithoutHostDevices: true, DefaultUlimits: []conf.Ulimit{}},
		"dotted": {AppArmorProfile: "mine"},
	}
	if d := cmp.Diff(want, c.Handlers); d != "" {
		t.Error(d)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if names := c.HandlerNames(); !slices.Equal(names, []string{"dotted", "empty", "inline", "strict"}) {
		t.Error(names)
	}
	if at := c.Origin("handlers.strict.default_ulimits"); !strings.HasSuffix(at, "10.toml:1") {
		t.Errorf("default_ulimits is set at %q", at)
	}
	for _, text := range [][]byte{c.TOML(), c.Dump()} {
		if d := cmp.Diff(want, load(t, string(text), nil).Handlers); d != "" {
			t.Errorf("read back from\n%s\n%s", text, d)
		}
	}
}

func TestHandlersAreValidated(t *testing.T) {
	for text, want := range map[string]string{
		"seccomp_profile = \"x.json\"":                               `config.toml:2: handlers.a.seccomp_profile = "x.json": is not an absolute path`,
		"apparmor_profile = \"a\\nb\"":                               "control character",
		"default_ulimits = [\"core=0\", \"core=1\"]":                 `names "core" twice`,
		"privileged_without_host_devices_all_devices_allowed = true": "means something only with privileged_without_host_devices",
	} {
		err := load(t, "[handlers.a]\n"+text+"\n", nil).Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

// The commented file names every key of a handler.
func TestHandlerKeysAreExplained(t *testing.T) {
	text := string(conf.Default().TOML())
	for _, key := range []string{
		"privileged_without_host_devices", "privileged_without_host_devices_all_devices_allowed",
		"seccomp_profile", "apparmor_profile", "default_ulimits",
	} {
		if !strings.Contains(text, "\n# "+key+" = ") {
			t.Errorf("no %s", key)
		}
	}
}
