package cgroup

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// Child makes a group below g for the processes of one exec, so that a time-out
// can kill their whole tree and nothing else. It lies in one hierarchy only:
//
//   - v2: a directory below the leaf without controllers, which v2 allows although
//     the leaf has processes; the kernel charges them to the leaf.
//   - v1 with a cgroup2 tree beside it: in that tree.
//   - v1 without: in the first of a named hierarchy, freezer, pids; the first two
//     limit nothing, a pids group counts towards the leaf.
//
// Everywhere else the child's processes sit in g itself: Join of the child gives
// those files too, and limits, numbers and the OOM counter are the container's.
// Remove the child when the exec has ended; removing g removes it as well. The
// child works on after g.Close.
func (g *Group) Child(name string) (c *Group, err error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("child of cgroup %q: %w", g.path, err)
	}
	release, err := g.use()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	i := g.childHierarchy()
	if i < 0 {
		return nil, fmt.Errorf("child %q of cgroup %q: no hierarchy for it: %w", name, g.path, ErrUnsupported)
	}
	err = unix.Mkdirat(g.dirs[i].fd(), name, 0o755)
	if errors.Is(err, unix.EEXIST) {
		err = ErrExists
	}
	if gone(err) {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("child %q of cgroup %q: %w", name, g.path, err)
	}
	c = newGroup(g.tree, path.Join(g.path, name))
	c.parent, c.releaseParent = g, release
	if c.dirs[i], err = openDir(g.dirs[i], name); err != nil {
		_ = unix.Unlinkat(g.dirs[i].fd(), name, unix.AT_REMOVEDIR)
		return nil, fmt.Errorf("child %q of cgroup %q: %w", name, g.path, err)
	}
	return c, nil
}

func (g *Group) childHierarchy() int {
	if _, ok := g.unified(); ok {
		return g.tree.two
	}
	for _, fits := range []func(*hierarchy) bool{
		func(h *hierarchy) bool { return len(h.controllers) == 1 && len(h.name) > 5 && h.name[:5] == "name=" },
		func(h *hierarchy) bool { return len(h.controllers) == 1 && h.has("freezer") },
		func(h *hierarchy) bool { return len(h.controllers) == 1 && h.has("pids") },
	} {
		for i, h := range g.tree.all {
			if fits(h) && g.dirs[i].File != nil {
				return i
			}
		}
	}
	return -1
}
