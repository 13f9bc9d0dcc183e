package systemd_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"slipway/sandbox/cgroup/systemd"
	fake "slipway/test/systemd"
)

// newManager is a client and the manager that it talks to.
func newManager(t *testing.T, o systemd.Options) (*systemd.Manager, *fake.Manager) {
	t.Helper()
	f, err := fake.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", f.Address())
	m := systemd.New(o)
	t.Cleanup(func() {
		_ = m.Close()
		f.Leave()
	})
	return m, f
}

var someProps = []systemd.Property{{Name: "Slice", Value: "a.slice"}, {Name: "MemoryMax", Value: uint64(7)}}

func TestLifeOfAScope(t *testing.T) {
	for _, first := range []bool{false, true} {
		m, f := newManager(t, systemd.Options{})
		f.Set(fake.Faults{SignalFirst: first})
		ctx := context.Background()
		if err := m.StartScope(ctx, "x.scope", 42, someProps); err != nil {
			t.Fatal(err)
		}
		u, ok := f.Unit("x.scope")
		if got := fmt.Sprintf("%v %v %v", u.Props["PIDs"], u.Props["Slice"], u.Props["MemoryMax"]); !ok || got != "[42] a.slice 7" {
			t.Errorf("unit %v: %s", ok, got)
		}
		if err := m.SetProperties(ctx, "x.scope", []systemd.Property{{Name: "MemoryMax", Value: systemd.Infinity}}); err != nil {
			t.Error(err)
		}
		if u, _ = f.Unit("x.scope"); u.Props["MemoryMax"] != systemd.Infinity || u.Props["Slice"] != "a.slice" {
			t.Errorf("after SetProperties: %v", u.Props)
		}
		if err := m.StopUnit(ctx, "x.scope"); err != nil {
			t.Error(err)
		}
		if err := m.StopUnit(ctx, "x.scope"); err != nil {
			t.Errorf("stop of what is gone: %v", err)
		}
		if err := m.SetProperties(ctx, "x.scope", someProps); !errors.Is(err, systemd.ErrNotFound) {
			t.Errorf("properties of what is gone: %v", err)
		}
		if left := f.Units(); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	}
}

// A name that is taken by a unit of before is freed.
func TestAnOldUnitIsNoObstacle(t *testing.T) {
	m, f := newManager(t, systemd.Options{})
	ctx := context.Background()
	if err := m.StartScope(ctx, "x.scope", 1, nil); err != nil {
		t.Fatal(err)
	}
	if err := m.StartScope(ctx, "x.scope", 2, nil); err != nil {
		t.Fatal(err)
	}
	if u, _ := f.Unit("x.scope"); fmt.Sprint(u.Props["PIDs"]) != "[2]" {
		t.Errorf("unit: %v", u)
	}
}

// What systemd refuses is told, and what it does not answer is bounded.
func TestTrouble(t *testing.T) {
	const limit = 300 * time.Millisecond
	for name, c := range map[string]struct {
		faults fake.Faults
		text   string
		gone   bool // ErrUnavailable
	}{
		"refused":         {fake.Faults{Errors: map[string]string{"StartTransientUnit": "org.freedesktop.DBus.Error.PropertyReadOnly"}}, "PropertyReadOnly", false},
		"failed job":      {fake.Faults{Result: "failed"}, `"failed"`, false},
		"no end of a job": {fake.Faults{Silent: true}, "has not ended", true},
		"no answer":       {fake.Faults{Deaf: true}, "no answer", true},
		"hung up":         {fake.Faults{HangUp: "StartTransientUnit"}, "connection was lost", true},
	} {
		m, f := newManager(t, systemd.Options{Limit: limit})
		if err := m.Check(context.Background()); err != nil {
			t.Fatal(err)
		}
		f.Set(c.faults)
		err := m.StartScope(context.Background(), "x.scope", 1, nil)
		if err == nil || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), "x.scope") || errors.Is(err, systemd.ErrUnavailable) != c.gone {
			t.Errorf("%s: %v", name, err)
		}
		f.Set(fake.Faults{})
		if err := m.StartScope(context.Background(), "y.scope", 1, nil); err != nil {
			t.Errorf("%s: the next one: %v", name, err)
		}
	}
}

// A connection that is lost is made again; one that cannot be made is an error
// at once.
func TestReconnects(t *testing.T) {
	m, f := newManager(t, systemd.Options{})
	ctx := context.Background()
	for i := range 3 {
		if err := m.StartScope(ctx, fmt.Sprintf("%d.scope", i), 1, nil); err != nil {
			t.Fatal(err)
		}
		f.Leave()
		if err := m.StopUnit(ctx, "0.scope"); !errors.Is(err, systemd.ErrUnavailable) {
			t.Errorf("without systemd: %v", err)
		}
		if err := f.Listen(); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(f.Units()); got != "[0.scope 1.scope 2.scope]" {
		t.Errorf("units: %s", got)
	}
}

// One that hangs does not keep the others.
func TestHangsAlone(t *testing.T) {
	m, f := newManager(t, systemd.Options{Limit: time.Minute})
	if err := m.Check(context.Background()); err != nil {
		t.Fatal(err)
	}
	f.Set(fake.Faults{Silent: true})
	ctx, cancel := context.WithCancel(context.Background())
	hung := make(chan error, 1)
	go func() { hung <- m.StartScope(ctx, "hung.scope", 1, nil) }()
	for end := time.Now().Add(30 * time.Second); len(f.Units()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never asked for")
		}
	}
	f.Set(fake.Faults{})
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			if err := m.StartScope(context.Background(), fmt.Sprintf("%d.scope", i), 1, nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	select {
	case err := <-hung:
		t.Errorf("the hung one: %v", err)
	default:
	}
	cancel()
	if err := <-hung; err == nil {
		t.Error("the hung one ended well")
	}
}

// A reload is told, also to a client that has been idle, and one that may have
// been missed while the connection was away counts too.
func TestReloaded(t *testing.T) {
	var told atomic.Int64
	m, f := newManager(t, systemd.Options{Reloaded: func() { told.Add(1) }})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { m.Watch(ctx); close(done) }()
	reaches := func(n int64, do func()) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); told.Load() < n; time.Sleep(5 * time.Millisecond) {
			if do != nil {
				do()
			}
			if time.Now().After(end) {
				t.Fatalf("told %d times, want %d", told.Load(), n)
			}
		}
	}
	reaches(1, f.Reload) // until the client is there
	before := told.Load()
	f.HangUp()
	reaches(before+1, nil)
	cancel()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("Watch does not end")
	}
}
