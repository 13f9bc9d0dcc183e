package main

import (
	"bytes"
	"strings"
	"testing"

	"slipway/conf"
)

func TestConfigCommand(t *testing.T) {
	good := writeConfig(t, "log_level = \"debug\"\n")
	wrong := writeConfig(t, "\nlog_level = \"loud\"\n")
	unknown := writeConfig(t, "log_levle = \"info\"\n")
	for _, tt := range []struct {
		args     string
		code     int
		out, err string
	}{
		{"default", exitOK, `listen = "unix:///run/slipway/slipway.sock"`, ""},
		{"dump --config " + good, exitOK, `log_level = "debug" # ` + good + ":1", ""},
		{"--config " + good + " dump", exitOK, `root = "/var/lib/slipway" # default`, ""},
		{"check --config " + good, exitOK, "ok: " + good + ": 1 key set", ""},
		{"check --config=" + wrong, exitFailure, "", wrong + `:2: log_level = "loud": is none of`},
		{"check --config " + unknown, exitFailure, "", unknown + `:1: unknown key "log_levle" (did you mean "log_level"?)`},
		{"dump --config /nonexistent/c.toml", exitFailure, "", "/nonexistent/c.toml"},
		{"", exitUsage, "", "say default, dump or check"},
		{"show", exitUsage, "", `"show" is none of`},
		{"default more", exitUsage, "", `unexpected "more"`},
		{"default --config " + good, exitUsage, "", "leave --config out"},
		{"dump --nope", exitUsage, "", "nope"},
		{"-h", exitOK, "--config FILE", ""},
		{"check -h", exitOK, "--config FILE", ""},
	} {
		code, out, errs := typed(t.Context(), "", append([]string{"config"}, strings.Fields(tt.args)...)...)
		if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(errs, tt.err) {
			t.Errorf("slipway config %s: exit %d, want %d\nout: %s\nerr: %s", tt.args, code, tt.code, out, errs)
		}
		if tt.code == exitOK && errs != "" || tt.code != exitOK && out != "" {
			t.Errorf("slipway config %s writes to the wrong stream\nout: %s\nerr: %s", tt.args, out, errs)
		}
	}
}

func TestConfigDefaultIsAFile(t *testing.T) {
	_, out, _ := typed(t.Context(), "", "config", "default")
	c, err := conf.Load(writeConfig(t, out), true)
	if err != nil || !bytes.Equal(c.TOML(), conf.Default().TOML()) {
		t.Errorf("not the defaults: %v", err)
	}
}

func TestVersionCommand(t *testing.T) {
	code, out, errs := typed(t.Context(), "", "version")
	if code != exitOK || !strings.HasPrefix(out, "slipway "+version) || errs != "" {
		t.Errorf("exit %d\nout: %s\nerr: %s", code, out, errs)
	}
	if code, _, _ := typed(t.Context(), "", "version", "1"); code != exitUsage {
		t.Errorf("exit %d, want %d", code, exitUsage)
	}
}
