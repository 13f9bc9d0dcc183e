package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// RemoveContainer kills a container if it runs and removes its root file
// system, its cgroup and its records. Its log stays: whoever chose the path
// removes it. A container that is not there is removed.
func (p *Pods) RemoveContainer(ctx context.Context, id string) error {
	c, err := p.container(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := p.stopContainer(ctx, c, 0); err != nil {
		return err
	}
	c.pod.op.RLock()
	defer c.pod.op.RUnlock()
	return p.removeContainer(ctx, c)
}

// removeContainer does it; c.pod.op is held.
func (p *Pods) removeContainer(ctx context.Context, c *container) error {
	for { // twice when it was started in between, which happens once
		if err := p.stopContainer(ctx, c, 0); err != nil {
			return err
		}
		c.op.Lock()
		if c.snapshot.Load().State != Running {
			break
		}
		c.op.Unlock()
	}
	defer c.op.Unlock()
	if c.gone {
		return nil
	}
	trash := filepath.Join(p.removingDir(), c.id)
	if err := os.Rename(c.dir, trash); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", c.name(), err)
	}
	c.gone = true
	p.hideContainer(c)
	p.freeName(containerKey(c.pod.id, c.config.GetMetadata()), c.id)
	if err := p.discard(ctx, c, trash); err != nil {
		p.log.Warn("a removed container leaves something behind; it is tried again", "container", c.id, "error", err)
		p.leftovers.left()
	}
	return nil
}

// discard takes away what a renamed record announces, then the record.
func (p *Pods) discard(ctx context.Context, c *container, trash string) error {
	if err := p.removeGroup(ctx, c); err != nil {
		return err
	}
	if c.kept { // its end could not be recorded
		if err := p.link.drop(ctx, c.id); err != nil {
			return err
		}
		c.kept = false
	}
	if err := p.o.Images.RemoveRoot(ctx, c.id); err != nil {
		return err
	}
	if err := os.RemoveAll(p.ioDir(c.id)); err != nil {
		return err
	}
	return os.RemoveAll(trash)
}
