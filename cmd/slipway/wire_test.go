package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"slipway/conf"
)

func TestUlimits(t *testing.T) {
	got := ulimits([]conf.Ulimit{{Name: "nofile", Soft: 1024, Hard: conf.Unlimited}})
	want := []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 1<<64 - 1}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if ulimits(nil) != nil {
		t.Error("no limits became some")
	}
}

// The test binary has no keeper beside it.
func TestKeeperIsMissing(t *testing.T) {
	if _, err := keeperBinary(); err == nil || !strings.Contains(err.Error(), "slipway-keeper must lie beside slipway") {
		t.Errorf("keeperBinary: %v", err)
	}
}
