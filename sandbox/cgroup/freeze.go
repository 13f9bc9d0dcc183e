package cgroup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Freeze stops every process of the group and below, and returns when they have
// stopped. A process in the kernel's uninterruptible sleep may take longer than
// the wait: then the error says so and the group is thawed again.
func (g *Group) Freeze(ctx context.Context) error {
	release, err := g.use()
	if err != nil {
		return err
	}
	defer release()
	d, file, want, ok := g.freezer()
	if !ok {
		return fmt.Errorf("freeze cgroup %q: no freezer here: %w", g.path, ErrUnsupported)
	}
	ctx, cancel := context.WithTimeout(ctx, g.tree.patience)
	defer cancel()
	for wait := newBackoff(); ; {
		if err := d.write(file, want); err != nil {
			return fmt.Errorf("freeze cgroup %q: %w", g.path, err)
		}
		if frozen, err := isFrozen(d, file); err != nil || frozen {
			return err
		}
		if err := wait.sleep(ctx); err != nil {
			return errors.Join(fmt.Errorf("freeze cgroup %q: %w", g.path, err), g.thaw())
		}
	}
}

// freezer is the directory and file that stop the group, and the word for it. On
// v1 the freezer controller comes first: it is the one a container may have used.
func (g *Group) freezer() (d dir, file, word string, ok bool) {
	if !g.tree.v2 {
		if d, ok := g.at("freezer"); ok {
			return d, "freezer.state", "FROZEN", true
		}
	}
	d, ok = g.unified()
	return d, "cgroup.freeze", "1", ok
}

func isFrozen(d dir, file string) (bool, error) {
	if file == "freezer.state" {
		text, err := d.read(file)
		return strings.TrimSpace(text) == "FROZEN", err
	}
	text, err := d.read("cgroup.events")
	return strings.Contains(text, "frozen 1"), err
}

// Thaw undoes Freeze, and whatever the container froze below its leaf.
func (g *Group) Thaw() error {
	release, err := g.use()
	if err != nil {
		return err
	}
	defer release()
	return g.thaw()
}

// thaw writes top-down: on v1 a group stays frozen while one above it is.
func (g *Group) thaw() error {
	var errs []error
	if d, ok := g.at("freezer"); ok && !g.tree.v2 {
		errs = append(errs, subtree(d, func(d dir) error { return d.write("freezer.state", "THAWED") }))
	}
	if d, ok := g.unified(); ok {
		errs = append(errs, subtree(d, func(d dir) error {
			err := d.write("cgroup.freeze", "0")
			if errors.Is(err, unix.ENOENT) {
				return nil // kernel without it, or the group went away
			}
			return err
		}))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("thaw cgroup %q: %w", g.path, err)
	}
	return nil
}

// backoff is a wait that grows from 1 ms to 50 ms.
type backoff struct{ next time.Duration }

func newBackoff() *backoff { return &backoff{time.Millisecond} }

func (b *backoff) sleep(ctx context.Context) error {
	timer := time.NewTimer(b.next)
	defer timer.Stop()
	b.next = min(2*b.next, 50*time.Millisecond)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
