package cgroup

import (
	"context"
	"errors"
	"fmt"
	"path"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Create makes the leaf of p in every hierarchy and applies the limits. Parents
// that are missing are made and stay, those of a failed Create excepted. On error
// nothing is left behind. ErrExists when the leaf is there already.
//
// res may be nil. Its device rules are applied in order; without rules the group
// has its parent's.
func (t *Tree) Create(ctx context.Context, p string, res *specs.LinuxResources) (g *Group, err error) {
	parent, leaf, err := parsePath(p)
	if err != nil {
		return nil, err
	}
	if err := checkResources(res); err != nil {
		return nil, fmt.Errorf("create cgroup %q: %w", p, err)
	}
	g = newGroup(t, p)
	g.fresh = true
	var made []madeDir
	defer func() {
		if err != nil {
			t.undoCreate(g, leaf, made)
			g, err = nil, fmt.Errorf("create cgroup %q: %w", p, err)
		}
	}()
	for i, h := range t.all {
		if err := ctx.Err(); err != nil {
			return g, err
		}
		if made, err = t.makeLeaf(g, i, parent, leaf, made); err != nil {
			return g, fmt.Errorf("%s: %w", h.name, err)
		}
	}
	if _, err := g.apply(ctx, res, false); err != nil {
		return g, err
	}
	return g, nil
}

// makeLeaf makes the leaf in one hierarchy. A parent can vanish between finding
// it and using it (another Create undone, RemoveParent): then once more.
func (t *Tree) makeLeaf(g *Group, i int, parent, leaf string, made []madeDir) ([]madeDir, error) {
	for try := 0; ; try++ {
		up, news, err := t.ensureParent(i, parent)
		made = append(made, news...)
		if err != nil {
			return made, err
		}
		err = unix.Mkdirat(up.fd(), leaf, 0o755)
		if err == nil {
			g.dirs[i], err = openDir(up, leaf)
			if err != nil {
				_ = unix.Unlinkat(up.fd(), leaf, unix.AT_REMOVEDIR)
			} else if t.all[i].has("cpuset") {
				err = inheritCpuset(up, g.dirs[i])
			}
			_ = up.Close()
			return made, err
		}
		_ = up.Close()
		switch {
		case errors.Is(err, unix.EEXIST):
			return made, ErrExists
		case errors.Is(err, unix.ENOENT) && try < 3:
		default:
			return made, fmt.Errorf("mkdir %q: %w", path.Join(parent, leaf), err)
		}
	}
}

// undoCreate removes what this Create made: leaves first, then those of its new
// parents that nobody else has begun to use.
func (t *Tree) undoCreate(g *Group, leaf string, made []madeDir) {
	for i, d := range g.dirs {
		if d.File == nil {
			continue
		}
		if up, err := openDir(dir{t.all[i].root}, relative(path.Dir(g.path))); err == nil {
			_ = unix.Unlinkat(up.fd(), leaf, unix.AT_REMOVEDIR)
			_ = up.Close()
		}
	}
	g.closeDirs()
	t.parents.Lock()
	defer t.parents.Unlock()
	for k := len(made) - 1; k >= 0; k-- {
		_ = unix.Unlinkat(int(t.all[made[k].hierarchy].root.Fd()), relative(made[k].path), unix.AT_REMOVEDIR)
	}
}
