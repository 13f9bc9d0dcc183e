package sandbox

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"

	"slipway/sandbox/cgroup"
	"slipway/sandbox/linux"
	"slipway/sandbox/wire"
)

// exited is told by the link for each process that has ended; it does not wait.
func (p *Pods) exited(e wire.Exit) {
	switch e.Kind {
	case wire.KindExec:
		p.mu.RLock()
		ch := p.execs[e.ID]
		p.mu.RUnlock()
		if ch != nil {
			select {
			case ch <- e:
			default: // told twice
			}
		}
	case wire.KindContainer:
		if c, err := p.container(e.ID); err == nil {
			p.background.Go(func() { p.containerExited(c, e) })
		}
	case wire.KindReaper:
		p.log.Debug("PID 1 of a shared PID namespace has ended", "pod", strings.TrimSuffix(e.ID, "/pid1"))
	}
}

// containerExited shows the end, then takes away what ran beside its init.
func (p *Pods) containerExited(c *container, e wire.Exit) {
	c.op.Lock()
	defer c.op.Unlock()
	if c.gone || c.snapshot.Load().State == Exited {
		return
	}
	p.finish(c, exitRecord{
		Version: formatVersion, Code: e.Code, Signal: e.Signal, OOM: e.OOM,
		Unknown: e.Unknown, FinishedAt: e.FinishedAt, Reason: e.Reason,
	})
}

// finish shows a container as ended and takes away what it used. The record on
// disk, if there is one, is the truth: whoever wrote it knew first.
func (p *Pods) finish(c *container, e exitRecord) {
	var first exitRecord
	switch err := readRecord(c.dir, exitFile, &first); {
	case err == nil:
		first.Message = orElse(first.Message, e.Message)
		e = first
	case errors.Is(err, fs.ErrNotExist):
		if err := writeOnce(c.dir, exitFile, e); err != nil && !errors.Is(err, fs.ErrExist) {
			p.log.Error("exit record", "container", c.id, "error", err)
		}
	default:
		p.log.Error("exit record", "container", c.id, "error", err)
	}
	c.snapshot.Store(c.snapshot.Load().exited(e))
	if c.process != nil {
		_ = linux.Close(c.process.pidfd)
		c.process = nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), cleanupLimit)
	defer cancel()
	if err := p.removeGroup(ctx, c); err != nil {
		p.log.Warn("cgroup of an ended container", "container", c.id, "error", err)
	}
	if err := os.RemoveAll(p.ioDir(c.id)); err != nil {
		p.log.Warn("FIFOs of an ended container", "container", c.id, "error", err)
	}
	if err := p.link.drop(ctx, c.id); err != nil {
		p.log.Warn("drop", "container", c.id, "error", err)
	}
	c.over.Do(func() { close(c.ended) })
}

// removeGroup kills what is left in a container's cgroup and removes it.
func (p *Pods) removeGroup(ctx context.Context, c *container) error {
	return p.killGroup(ctx, p.cgroupPath(c.pod, c.id))
}

// killGroup kills all processes of a cgroup and removes it. None there is fine.
func (p *Pods) killGroup(ctx context.Context, path string) error {
	g, err := p.o.Cgroups.Open(path)
	if errors.Is(err, cgroup.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer g.Close()
	if err := g.Kill(ctx); err != nil {
		return err
	}
	return g.Remove(ctx)
}
