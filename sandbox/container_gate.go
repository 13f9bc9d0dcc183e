package sandbox

import (
	"context"

	"slipway/sandbox/cgroup"
)

// spawnGated starts the first process of a group. With systemd's part in it the
// process waits until it is in its scope; when that fails, its end is only the
// consequence, and the reason is systemd's.
func (p *Pods) spawnGated(ctx context.Context, gate *cgroup.Gate, s spawn) (child, error) {
	s.Timeout = gate.Limit()
	ch, err := p.link.spawn(ctx, s)
	if refused := gate.Close(); err != nil && refused != nil {
		err = refused
	}
	return ch, err
}

// CgroupDriver is who makes cgroups: cgroup.Cgroupfs or cgroup.Systemd.
func (p *Pods) CgroupDriver() string { return p.o.Cgroups.Driver() }

// restoreLimits writes the limits of all running containers again: systemd has
// read its configuration anew, or may have while nobody listened.
func (p *Pods) restoreLimits() {
	p.mu.RLock()
	all := make([]*container, 0, len(p.containers))
	for _, c := range p.containers {
		all = append(all, c)
	}
	p.mu.RUnlock()
	for _, c := range all {
		p.later("limits of a container", func(ctx context.Context) error { return p.restoreLimit(ctx, c) })
	}
}

func (p *Pods) restoreLimit(ctx context.Context, c *container) error {
	c.op.Lock()
	defer c.op.Unlock()
	snap := c.snapshot.Load()
	if c.gone || snap.State != Running {
		return nil
	}
	limits, err := p.limits(snap.Resources)
	if err != nil {
		return err
	}
	g, err := p.group(c)
	if err != nil {
		return err
	}
	defer g.Close()
	return g.Enforce(ctx, limits)
}
