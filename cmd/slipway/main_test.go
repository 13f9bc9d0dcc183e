package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// typed runs one command line.
func typed(ctx context.Context, in string, args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = run(ctx, streams{strings.NewReader(in), &o, &e}, args)
	return code, o.String(), e.String()
}

func TestCommandLine(t *testing.T) {
	for _, tt := range []struct {
		args     []string
		code     int
		out, err string
	}{
		{nil, exitUsage, "", "usage: slipway COMMAND"},
		{[]string{"help"}, exitOK, "import", ""},
		{[]string{"--help"}, exitOK, "serve", ""},
		{[]string{"pods"}, exitUsage, "", `no command "pods"`},
		{[]string{"serve", "-h"}, exitOK, "--cni-bin-dir DIR", ""},
		{[]string{"serve", "--nope"}, exitUsage, "", "-nope"},
		{[]string{"serve", "extra"}, exitUsage, "", `unexpected "extra"`},
		{[]string{"serve", "--config", "/nonexistent/c.toml"}, exitFailure, "", "/nonexistent/c.toml"},
		{[]string{"serve", "--log-level", "loud"}, exitFailure, "", `--log-level: log_level = "loud"`},
		{[]string{"import"}, exitUsage, "", "at least one FILE"},
	} {
		code, out, errs := typed(t.Context(), "", tt.args...)
		if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(errs, tt.err) {
			t.Errorf("slipway %q: exit %d, want %d\nout: %s\nerr: %s", tt.args, code, tt.code, out, errs)
		}
		if tt.code == exitOK && errs != "" || tt.code != exitOK && out != "" {
			t.Errorf("slipway %q writes to the wrong stream\nout: %s\nerr: %s", tt.args, out, errs)
		}
	}
}
