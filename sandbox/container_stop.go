package sandbox

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"slipway/sandbox/linux"
)

// killLimit bounds how long the end of killed processes is waited for.
const killLimit = 10 * time.Second

// StopContainer asks a container to end by its stop signal, and after grace
// kills all of it. It returns when it has ended; a container that is not there
// or has ended is stopped. A second call with a shorter grace shortens the
// first one's.
//
// Errors: what could not be killed is named, with what it waits for.
func (p *Pods) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	c, err := p.container(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.stopContainer(ctx, c, grace)
}

// stopContainer holds no lock while it waits: whoever comes later with less
// patience kills, and both see the end.
func (p *Pods) stopContainer(ctx context.Context, c *container, grace time.Duration) error {
	state := c.snapshot.Load().State
	if state == Created { // or being started: whoever does that comes first
		c.op.Lock()
		state = c.snapshot.Load().State
		c.op.Unlock()
	}
	if state != Running {
		return p.settled(ctx, c)
	}
	if grace > 0 {
		p.signal(c, c.stopSignal())
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-c.ended:
			return nil
		case <-t.C:
		case <-ctx.Done():
			return fmt.Errorf("stop %s: still within its grace period: %w", c.name(), ctx.Err())
		}
	}
	g, err := p.group(c)
	if err == nil {
		kill, cancel := context.WithTimeout(ctx, killLimit)
		err = g.Kill(kill)
		cancel()
		g.Close()
	}
	if err != nil {
		p.signal(c, syscall.SIGKILL) // its init at least
	}
	t := time.NewTimer(killLimit)
	defer t.Stop()
	select {
	case <-c.ended:
		return nil
	case <-t.C:
	case <-ctx.Done():
	}
	if err == nil {
		err = errors.New("it was killed and has not ended")
	}
	return fmt.Errorf("stop %s: %w", c.name(), err)
}

// settled waits for the clean-up of a container that has ended, so that its
// cgroup is gone when Stop returns.
func (p *Pods) settled(ctx context.Context, c *container) error {
	if c.snapshot.Load().State != Exited {
		return nil
	}
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop %s: it has ended, its cgroup is not gone yet: %w", c.name(), ctx.Err())
	}
}

func (c *container) stopSignal() syscall.Signal {
	if s := syscall.Signal(c.record.SignalNumber); s > 0 {
		return s
	}
	return syscall.SIGTERM
}

// signal reaches the container's init by its pidfd: no other process can be meant.
func (p *Pods) signal(c *container, s syscall.Signal) {
	c.op.Lock()
	defer c.op.Unlock()
	if c.process == nil {
		return
	}
	if err := linux.SignalProcess(c.process.pidfd, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.log.Warn("signal", "container", c.id, "signal", s, "error", err)
	}
}
