package cgroup

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"slipway/sandbox/cgroup/systemd"
)

// driver is who makes the leaves of a tree.
type driver struct {
	name     string           // Cgroupfs or Systemd
	units    *systemd.Manager // nil where no systemd runs
	reloaded atomic.Pointer[func()]
}

// Driver is Cgroupfs or Systemd.
func (t *Tree) Driver() string { return t.driver.name }

// OnReload has fn called after systemd has read its configuration anew, or may
// have while nobody listened: it has then written the limits that it can be told
// of, and the others to their defaults. Whoever knows them calls Enforce. false:
// nobody reloads, the driver is another one. Called once; it holds until ctx ends.
func (t *Tree) OnReload(ctx context.Context, fn func()) bool {
	if t.driver.name != Systemd {
		return false
	}
	t.driver.reloaded.Store(&fn)
	go t.driver.units.Watch(ctx)
	return true
}

// busEnv names a bus of one's own: there may be a systemd that did not boot this
// machine.
const busEnv = "DBUS_SYSTEM_BUS_ADDRESS"

// checkLimit bounds the first word with systemd.
const checkLimit = 15 * time.Second

// set decides the driver. "auto" is systemd where that has booted the machine:
// two managers of one hierarchy undo each other's settings. A systemd that is
// there and does not answer is an error, not a reason for the other driver: the
// kubelet lays out its groups by what we say.
//
// On v1 it is cgroupfs: there systemd (252, seen) removes what it has not made
// below a slice that it starts or looks at again, also between our making a group
// and its first process.
func (d *driver) set(want string, v2 bool) error {
	booted := systemd.Booted() && v2 || os.Getenv(busEnv) != ""
	switch want {
	case "", Cgroupfs:
		want = Cgroupfs
	case Systemd:
		if systemd.Booted() && !v2 {
			return fmt.Errorf("cgroup driver systemd: this host has cgroup v1, and it needs v2: set cgroup_driver = \"cgroupfs\" here and in the kubelet: %w", ErrUnsupported)
		}
	case "auto":
		want = Cgroupfs
		if booted {
			want = Systemd
		}
	default:
		return fmt.Errorf("cgroup driver %q: want auto, cgroupfs or systemd: %w", want, ErrInvalid)
	}
	d.name = want
	if !booted && want != Systemd {
		return nil
	}
	d.units = systemd.New(systemd.Options{Reloaded: d.tellReload})
	if want != Systemd {
		return nil // for scopes of a time with the other driver
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkLimit)
	defer cancel()
	if err := d.units.Check(ctx); err != nil {
		return fmt.Errorf("cgroup driver systemd: %w: %w", ErrUnsupported, err)
	}
	return nil
}

func (d *driver) tellReload() {
	if fn := d.reloaded.Load(); fn != nil {
		(*fn)()
	}
}
