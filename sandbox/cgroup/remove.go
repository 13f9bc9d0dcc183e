package cgroup

import (
	"context"
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// Remove removes the group and everything below it from every hierarchy, deepest
// first, and closes it. Processes must be gone; a group that is busy is tried
// again until ctx or Options.Patience ends, then a StuckError names who is in it.
// Removing what is gone is no error; the parents stay.
func (g *Group) Remove(ctx context.Context) error {
	release, err := g.use()
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, g.tree.patience)
	defer cancel()
	if err := g.endScope(ctx); err != nil {
		return fmt.Errorf("remove cgroup %q: %w", g.path, err)
	}
	for wait := newBackoff(); ; {
		err := g.removeOnce()
		if err == nil {
			return g.Close()
		}
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
			return fmt.Errorf("remove cgroup %q: %w", g.path, err)
		}
		if sleepErr := wait.sleep(ctx); sleepErr != nil {
			return g.stuck("remove", errors.Join(err, sleepErr))
		}
	}
}

// removeOnce tries each hierarchy, the others too when one is busy.
func (g *Group) removeOnce() error {
	var errs []error
	for i, d := range g.dirs {
		if d.File == nil {
			continue
		}
		if err := g.removeFrom(d); err != nil && !gone(err) {
			errs = append(errs, fmt.Errorf("%s: %w", g.tree.all[i].name, err))
		}
	}
	return errors.Join(errs...)
}

func (g *Group) removeFrom(d dir) error {
	up, err := parentOf(d)
	if err != nil {
		return err
	}
	defer up.Close()
	// The name may mean another group by now, made after ours was removed.
	name := path.Base(g.path)
	same, err := sameDir(up, name, d)
	if err != nil || !same {
		return err
	}
	err = unix.Unlinkat(up.fd(), name, unix.AT_REMOVEDIR)
	if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	if err := clearDir(d); err != nil {
		return err
	}
	return unix.Unlinkat(up.fd(), name, unix.AT_REMOVEDIR)
}

// clearDir removes every group below d, at any depth and width, with two
// directories open: it goes down where a plain rmdir is refused, and up again
// when a level is empty.
func clearDir(d dir) error {
	cur, err := openDir(d, ".")
	if err != nil {
		return err
	}
	defer func() { _ = cur.Close() }()
	var names []string // the way from d to cur
	for range maxDirs {
		refused, err := removeChildren(cur)
		if err != nil && !gone(err) {
			return err
		}
		if refused != "" {
			next, err := openDir(cur, refused)
			if gone(err) {
				continue
			}
			if err != nil {
				return err
			}
			if below, err := childNames(next); err == nil && len(below) == 0 {
				_ = next.Close()
				return unix.EBUSY // processes, not children
			}
			_ = cur.Close()
			cur, names = next, append(names, refused)
			continue
		}
		if len(names) == 0 {
			return nil
		}
		if err := climb(&cur); err != nil {
			return err
		}
		names = names[:len(names)-1]
	}
	return fmt.Errorf("more than %d groups in one subtree: %w", maxDirs, ErrUnsupported)
}

// removeChildren removes the groups directly below d that it can and returns one
// that it could not.
func removeChildren(d dir) (refused string, err error) {
	names, err := childNames(d)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		err := unix.Unlinkat(d.fd(), name, unix.AT_REMOVEDIR)
		switch {
		case err == nil || gone(err):
		case errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOTEMPTY):
			refused = name
		default:
			return "", err
		}
	}
	return refused, nil
}

// sameDir tells whether name in up is the very directory d.
func sameDir(up dir, name string, d dir) (bool, error) {
	var there, ours unix.Stat_t
	if err := unix.Fstatat(up.fd(), name, &there, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, err
	}
	if err := unix.Fstat(d.fd(), &ours); err != nil {
		return false, err
	}
	return there.Ino == ours.Ino && there.Dev == ours.Dev, nil
}
