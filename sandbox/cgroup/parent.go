package cgroup

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// madeDir is a directory above a leaf that we made.
type madeDir struct {
	hierarchy int
	path      string
}

// EnsureParent makes a group that only holds other groups, such as "/slipway", in
// every hierarchy, with the controllers enabled for its children. Idempotent.
func (t *Tree) EnsureParent(ctx context.Context, p string) error {
	if _, _, err := parsePath(p); err != nil {
		return err
	}
	for i, h := range t.all {
		if err := ctx.Err(); err != nil {
			return err
		}
		d, _, err := t.ensureParent(i, p)
		if err != nil {
			return fmt.Errorf("make parent cgroup %q in %s: %w", p, h.name, err)
		}
		_ = d.Close()
	}
	return nil
}

// RemoveParent removes a group that holds nothing any more, from each hierarchy
// where that is so. A group with children or processes stays, without an error:
// somebody else lives there. It never kills and never goes deeper.
func (t *Tree) RemoveParent(ctx context.Context, p string) error {
	if _, _, err := parsePath(p); err != nil {
		return err
	}
	t.parents.Lock()
	defer t.parents.Unlock()
	var errs []error
	for _, h := range t.all {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		err := removeEmpty(dir{h.root}, p)
		if err != nil && !gone(err) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, fmt.Errorf("remove parent cgroup %q from %s: %w", p, h.name, err))
		}
	}
	return errors.Join(errs...)
}

func removeEmpty(root dir, p string) error {
	up, err := openDir(root, relative(path.Dir(p)))
	if err != nil {
		return err
	}
	defer up.Close()
	return unix.Unlinkat(up.fd(), path.Base(p), unix.AT_REMOVEDIR)
}

// ensureParent opens p in hierarchy i, ready to have children; missing
// directories on the way are made and returned, also on error.
func (t *Tree) ensureParent(i int, p string) (dir, []madeDir, error) {
	h := t.all[i]
	if d, err := openDir(dir{h.root}, relative(p)); err == nil {
		ready, err := t.ready(h, d)
		if ready && err == nil {
			return d, nil, nil
		}
		_ = d.Close()
	} else if !errors.Is(err, unix.ENOENT) {
		return dir{}, nil, fmt.Errorf("open parent %q: %w", p, err)
	}
	t.parents.Lock()
	defer t.parents.Unlock()
	return t.walk(i, p)
}

// ready tells whether children of d can be made without a walk down from the root.
func (t *Tree) ready(h *hierarchy, d dir) (bool, error) {
	switch {
	case t.v2:
		missing, err := disabledControllers(d)
		return len(missing) == 0, err
	case h.has("cpuset"):
		return cpusetFilled(d)
	}
	return true, nil
}

// walk goes down from the root of hierarchy i, making what is missing and
// preparing each level for its children. The caller holds t.parents.
func (t *Tree) walk(i int, p string) (cur dir, made []madeDir, err error) {
	h := t.all[i]
	if cur, err = openDir(dir{h.root}, "."); err != nil {
		return dir{}, nil, err
	}
	defer func() {
		if err != nil {
			_ = cur.Close()
			cur = dir{}
		}
	}()
	if err := t.prepare(h, dir{}, cur, "/"); err != nil {
		return cur, nil, err
	}
	at := "/"
	for name := range strings.SplitSeq(relative(p), "/") {
		if name == "." {
			break // p is the root itself
		}
		at = path.Join(at, name)
		next, isNew, err := makeDir(cur, name)
		if isNew {
			made = append(made, madeDir{i, at})
		}
		if err != nil {
			return cur, made, fmt.Errorf("parent %q: %w", at, err)
		}
		err = t.prepare(h, cur, next, at)
		_ = cur.Close()
		cur = next
		if err != nil {
			return cur, made, err
		}
	}
	return cur, made, nil
}

// prepare makes a level fit to have children: v1 cpusets are empty until filled,
// v2 controllers are off until enabled.
func (t *Tree) prepare(h *hierarchy, up, d dir, at string) error {
	switch {
	case t.v2:
		return t.enableControllers(d, at)
	case h.has("cpuset") && up.File != nil:
		return inheritCpuset(up, d)
	}
	return nil
}

func makeDir(up dir, name string) (d dir, isNew bool, err error) {
	d, err = openDir(up, name)
	if !errors.Is(err, unix.ENOENT) {
		return d, false, err
	}
	err = unix.Mkdirat(up.fd(), name, 0o755)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return dir{}, false, err
	}
	isNew = err == nil
	d, err = openDir(up, name)
	return d, isNew, err
}
