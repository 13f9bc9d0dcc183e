package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"slipway/sandbox/cgroup/systemd"
	fake "slipway/test/systemd"
)

// scopes is a tree with the systemd driver, the systemd that it talks to, and a
// slice of this test alone, removed at the end.
func scopes(t *testing.T) (*Tree, *fake.Manager, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	f, err := fake.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", f.Address())
	tree, err := New(Options{Driver: Systemd, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Patience: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	slice := fmt.Sprintf("slipwaytest%d_%d.slice", os.Getpid(), testPaths.Add(1))
	t.Cleanup(func() {
		defer f.Leave()
		defer tree.Close()
		g, err := tree.Open("/" + slice)
		if errors.Is(err, ErrNotFound) {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		defer g.Close()
		if err := errors.Join(g.Kill(context.Background()), g.Remove(context.Background())); err != nil {
			t.Error("clean up:", err)
		}
	})
	return tree, f, slice
}

func TestScopeLife(t *testing.T) {
	tree, f, slice := scopes(t)
	ctx := context.Background()
	at := Place(slice, "id1")
	unit := "slipway-id1.scope"
	res := &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: p[int64](33)}, CPU: &specs.LinuxCPU{Quota: p[int64](20500), Period: p[uint64](100000)}}
	g, err := tree.Create(ctx, at, res)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Update(ctx, &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: p[int64](44)}}); err != nil {
		t.Fatalf("update before there is a process: %v", err)
	}
	cmd, _ := start(t, g, nil, "/bin/sleep", "100")
	if err := g.register(ctx, cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	u, ok := f.Unit(unit)
	if !ok {
		t.Fatalf("no unit; calls %q", f.Calls())
	}
	for name, want := range map[string]any{
		"PIDs": []uint32{uint32(cmd.Process.Pid)}, "Slice": slice, "Delegate": true, "DefaultDependencies": false,
		"CollectMode": "inactive-or-failed", "TasksMax": uint64(44), "CPUQuotaPerSecUSec": uint64(210000),
	} {
		if fmt.Sprint(u.Props[name]) != fmt.Sprint(want) {
			t.Errorf("%s is %v, want %v", name, u.Props[name], want)
		}
	}

	again, err := tree.Open(at) // as an update does
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := again.Update(ctx, &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: p[int64](55)}}); err != nil {
		t.Fatal(err)
	}
	if u, _ = f.Unit(unit); u.Props["TasksMax"] != uint64(55) || readLimit(t, again) != 55 {
		t.Errorf("after the update: property %v, file %d", u.Props["TasksMax"], readLimit(t, again))
	}

	// What systemd refuses is not in force either.
	f.Set(fake.Faults{Errors: map[string]string{"SetUnitProperties": "org.freedesktop.DBus.Error.InvalidArgs"}})
	err = again.Update(ctx, &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: p[int64](66)}})
	if err == nil || !strings.Contains(err.Error(), "InvalidArgs") || readLimit(t, again) != 55 {
		t.Errorf("refused by systemd: %v, limit %d, want 55 kept", err, readLimit(t, again))
	}
	f.Set(fake.Faults{})

	// And what the last step refuses, neither: systemd is told again.
	broken := errors.New("disk full")
	err = again.Change(ctx, &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: p[int64](77)}}, func() error { return broken })
	if u, _ = f.Unit(unit); !errors.Is(err, broken) || readLimit(t, again) != 55 || u.Props["TasksMax"] != uint64(55) {
		t.Errorf("refused by the last step: %v, file %d, property %v", err, readLimit(t, again), u.Props["TasksMax"])
	}

	if err := errors.Join(again.Kill(ctx), again.Remove(ctx)); err != nil {
		t.Fatal(err)
	}
	if left := f.Units(); len(left) > 0 || exists(t, tree, at) {
		t.Errorf("left: %q, directory %v", left, exists(t, tree, at))
	}
}

// A scope that systemd has forgotten is removed without asking it, one that it
// cannot be asked about stays, with its directory, for the next try.
func TestScopeRemoval(t *testing.T) {
	tree, f, slice := scopes(t)
	ctx := context.Background()
	g, err := tree.Create(ctx, Place(slice, "id2"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	f.Leave()
	if err := g.Remove(ctx); !errors.Is(err, systemd.ErrUnavailable) || !exists(t, tree, g.Path()) {
		t.Errorf("without systemd: %v; it must not vanish behind its back", err)
	}
	if err := f.Listen(); err != nil {
		t.Fatal(err)
	}
	if err := g.Remove(ctx); err != nil || exists(t, tree, g.Path()) {
		t.Errorf("never registered: %v", err)
	}
	if !slices.Contains(f.Calls(), "StopUnit slipway-id2.scope") {
		t.Errorf("calls: %q", f.Calls())
	}
}

func readLimit(t *testing.T, g *Group) int64 {
	t.Helper()
	res, err := g.Limits()
	if err != nil || res.Pids.Limit == nil {
		t.Fatalf("limits: %v", err)
	}
	return *res.Pids.Limit
}

// Without systemd, "systemd" is an error that says so, and "auto" is cgroupfs.
func TestDrivers(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+t.TempDir()+"/none")
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if _, err := New(Options{Driver: Systemd, Log: log}); !errors.Is(err, ErrUnsupported) || !errors.Is(err, systemd.ErrUnavailable) {
		t.Errorf("systemd: %v", err)
	}
	if _, err := New(Options{Driver: "auto", Log: log}); !errors.Is(err, systemd.ErrUnavailable) {
		t.Errorf("auto with a systemd that does not answer: %v, want an error and not another driver", err)
	}
	if _, err := New(Options{Driver: "docker", Log: log}); !errors.Is(err, ErrInvalid) {
		t.Errorf("docker: %v", err)
	}
	if systemd.Booted() {
		return
	}
	if err := os.Unsetenv("DBUS_SYSTEM_BUS_ADDRESS"); err != nil { // Setenv above restores it
		t.Fatal(err)
	}
	tree, err := New(Options{Driver: "auto", Log: log})
	if err != nil || tree.Driver() != Cgroupfs {
		t.Fatalf("auto: %v", err)
	}
	_ = tree.Close()
}
