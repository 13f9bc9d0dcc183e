package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"slipway/conf"
	"slipway/sandbox"
	"slipway/server/streaming"
)

func TestUlimits(t *testing.T) {
	got := ulimits([]conf.Ulimit{{Name: "nofile", Soft: 1024, Hard: conf.Unlimited}})
	want := []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 1<<64 - 1}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if ulimits(nil) != nil || ulimits([]conf.Ulimit{}) == nil {
		t.Error("nothing said and no limits are not the same")
	}
}

// Every key of a handler and of streaming reaches its room.
func TestWiredConfiguration(t *testing.T) {
	c, err := conf.Load(writeConfig(t, `
stream_address = "127.0.0.1:10010"
stream_tls_cert = "/cert"
stream_tls_key = "/key"
stream_idle_timeout = "1h"
stream_open_timeout = "5s"
stream_max_sessions = 7
stream_max_sessions_per_pod = 3
[handlers.a]
privileged_without_host_devices = true
privileged_without_host_devices_all_devices_allowed = true
seccomp_profile = "/p"
apparmor_profile = "mine"
default_ulimits = []
[handlers.b]
`), true)
	if err != nil {
		t.Fatal(err)
	}
	got := streamOptions(c, nil)
	want := streaming.Options{
		Address: "127.0.0.1:10010", Cert: "/cert", Key: "/key",
		Idle: time.Hour, Open: 5 * time.Second, Max: 7, MaxOwner: 3,
	}
	if got != want {
		t.Errorf("%+v", got)
	}
	all := map[string]sandbox.Handler{
		"a": {WithoutDevices: true, AnyDevice: true, SeccompProfile: "/p", AppArmorProfile: "mine", Ulimits: []specs.POSIXRlimit{}},
		"b": {},
	}
	if d := cmp.Diff(all, handlers(c.Handlers)); d != "" {
		t.Error(d)
	}
}

// The test binary has no keeper beside it.
func TestKeeperIsMissing(t *testing.T) {
	if _, err := keeperBinary(); err == nil || !strings.Contains(err.Error(), "slipway-keeper must lie beside slipway") {
		t.Errorf("keeperBinary: %v", err)
	}
}
