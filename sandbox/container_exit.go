package sandbox

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
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
		if s, err := p.pod(strings.TrimSuffix(e.ID, reaperSuffix)); err == nil {
			p.background.Go(func() { p.reaperExited(s) })
		}
	}
}

// containerExited shows the end, then takes away what ran beside its init.
func (p *Pods) containerExited(c *container, e wire.Exit) {
	c.op.Lock()
	defer c.op.Unlock()
	if c.gone || c.snapshot.Load().State == Exited {
		return
	}
	p.finish(c, exitOf(e))
}

// exitOf is the record of an end as the keeper tells it.
func exitOf(e wire.Exit) exitRecord {
	return exitRecord{
		Version: formatVersion, Code: e.Code, Signal: e.Signal, OOM: e.OOM,
		Unknown: e.Unknown, FinishedAt: e.FinishedAt, Reason: e.Reason,
	}
}

// finish shows a container as ended and takes away what it used.
func (p *Pods) finish(c *container, e exitRecord) {
	recorded := p.end(c, e)
	ctx, cancel := context.WithTimeout(context.Background(), cleanupLimit)
	defer cancel()
	if err := p.cleanUp(ctx, c, recorded); err != nil {
		p.log.Warn("an ended container leaves something behind until it is removed", "container", c.id, "error", err)
	}
}

// end shows a container as ended. The record on disk, if there is one, is the
// truth: whoever wrote it knew first. false: there is none and none could be
// written.
func (p *Pods) end(c *container, e exitRecord) (recorded bool) {
	var first exitRecord
	err := readRecord(c.dir, exitFile, &first)
	if err == nil {
		e = first
	} else {
		if !errors.Is(err, fs.ErrNotExist) {
			p.setAside(c.dir, exitFile, err)
		}
		if err = writeOnce(c.dir, exitFile, e); err != nil {
			p.log.Error("exit record", "container", c.id, "error", err)
		}
	}
	p.publishContainer(c, c.snapshot.Load().exited(e), EventStopped)
	if c.process != nil {
		_ = linux.Close(c.process.pidfd)
		c.process = nil
	}
	c.running.Store(nil)
	c.gauge.close()
	c.seat.close()
	return err == nil
}

// setAside renames a bad record, so that a good one can take its place.
func (p *Pods) setAside(dir, name string, cause error) {
	err := os.Rename(filepath.Join(dir, name), filepath.Join(dir, name+".bad"))
	p.log.Error("a record is bad; it was set aside", "record", filepath.Join(dir, name), "cause", cause, "error", err)
}

// cleanUp takes away what an ended container used. The keeper goes on to hold
// an end that could not be recorded: the next daemon asks it.
func (p *Pods) cleanUp(ctx context.Context, c *container, recorded bool) error {
	defer c.over.Do(func() { close(c.ended) })
	err := errors.Join(p.removeGroup(ctx, c), os.RemoveAll(p.ioDir(c.id)))
	if !recorded || !c.kept {
		return err
	}
	drop := p.link.drop(ctx, c.id)
	c.kept = drop != nil
	return errors.Join(err, drop)
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
