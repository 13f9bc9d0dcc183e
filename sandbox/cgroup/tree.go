package cgroup

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const mountBase = "/sys/fs/cgroup"

// Options say how groups are made. The zero value works.
type Options struct {
	// Driver is Cgroupfs, which empty means too, Systemd, or "auto": Systemd where
	// that has booted the machine.
	Driver string
	// Log gets what was left out because the host lacks it. nil: slog.Default().
	Log *slog.Logger
	// Patience is the longest that Kill, Remove and Freeze wait for the kernel,
	// whatever their context allows. 0: ten seconds.
	Patience time.Duration
}

// Tree is the host's cgroup hierarchies. Safe for concurrent use.
type Tree struct {
	log      *slog.Logger
	patience time.Duration
	v2       bool
	all      []*hierarchy // v2: one; v1: one for each mounted hierarchy, cgroup2 last
	two      int          // index of the cgroup2 tree in all, -1 if there is none

	parents sync.Mutex // making and removing the directories above leaves
	warned  sync.Map   // what was logged once: missing things by name

	driver driver

	held    atomic.Int64 // files that meters have open
	buffers sync.Pool    // of *[]byte, to read statistics into
}

// New finds the hierarchies in the mount namespace of the caller. It opens each
// mount point once; later mounts do not disturb it.
func New(o Options) (*Tree, error) {
	mountinfo, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("find cgroup mounts: %w", err)
	}
	defer mountinfo.Close()
	mounts, err := parseMounts(mountinfo)
	if err != nil {
		return nil, fmt.Errorf("find cgroup mounts: %w", err)
	}
	var base unix.Statfs_t
	if err := unix.Statfs(mountBase, &base); err != nil {
		return nil, fmt.Errorf("find cgroup mounts: %q: %w", mountBase, err)
	}
	t := &Tree{log: o.Log, patience: o.Patience, v2: base.Type == unix.CGROUP2_SUPER_MAGIC, two: -1}
	if t.log == nil {
		t.log = slog.Default()
	}
	if t.patience <= 0 {
		t.patience = 10 * time.Second
	}
	if err := errors.Join(t.driver.set(o.Driver, t.v2), t.open(choose(mounts, mountBase))); err != nil {
		_ = t.Close()
		return nil, err
	}
	return t, nil
}

func (t *Tree) open(mounts []mount) error {
	slices.SortStableFunc(mounts, func(a, b mount) int { // cgroup2 last
		switch {
		case a.unified == b.unified:
			return 0
		case a.unified:
			return 1
		}
		return -1
	})
	for _, m := range mounts {
		if t.v2 && !m.unified {
			continue // a v1 controller left over beside v2 is somebody else's
		}
		h, err := openHierarchy(m)
		if err != nil { // out of reach here: as if it were not mounted
			t.log.Warn("cgroup hierarchy not used", "err", err)
			continue
		}
		if m.unified {
			t.two = len(t.all)
		}
		t.all = append(t.all, h)
	}
	if len(t.all) == 0 {
		return fmt.Errorf("no cgroup hierarchy is mounted below %q: %w", mountBase, ErrUnsupported)
	}
	return nil
}

// Close lets go of the mount points. Groups opened from the tree live on.
func (t *Tree) Close() error {
	var errs []error
	if t.driver.units != nil {
		errs = append(errs, t.driver.units.Close())
	}
	for _, h := range t.all {
		errs = append(errs, h.root.Close())
	}
	return errors.Join(errs...)
}

// Version is "v2", or "v1" for controllers in v1 hierarchies, a cgroup2 tree
// without controllers beside them or not.
func (t *Tree) Version() string {
	if t.v2 {
		return "v2"
	}
	return "v1"
}

// Open finds an existing group, also one that is there in some hierarchies only
// (a crash between two mkdirs), so that it can be removed. ErrNotFound if it is
// in none.
func (t *Tree) Open(path string) (*Group, error) {
	if _, _, err := parsePath(path); err != nil {
		return nil, err
	}
	g := newGroup(t, path)
	for i, h := range t.all {
		d, err := openDir(dir{h.root}, relative(path))
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			g.closeDirs()
			return nil, fmt.Errorf("open cgroup %q in %s: %w", path, h.name, err)
		}
		g.dirs[i] = d
	}
	if g.empty() {
		return nil, fmt.Errorf("open cgroup %q: %w", path, ErrNotFound)
	}
	return g, nil
}

// relative turns a checked path into what openat2 wants below a mount point.
func relative(p string) string {
	if p == "/" {
		return "."
	}
	return path.Clean(p)[1:]
}

// warnOnce logs a thing that the host lacks, once for the life of the tree.
func (t *Tree) warnOnce(what string, args ...any) {
	if _, seen := t.warned.LoadOrStore(what, true); !seen {
		t.log.Warn(what, args...)
	}
}

// index returns the place of the hierarchy that carries a controller, -1 if none.
func (t *Tree) index(controller string) int {
	if t.v2 {
		return t.two
	}
	return slices.IndexFunc(t.all, func(h *hierarchy) bool { return h.has(controller) })
}
