package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Kill ends every process of the group and below with SIGKILL and returns when
// none is left (zombies are their parents' business). It reaches only what the
// directories opened by Create, Open or Child hold. On v1 no process can be
// started in the group afterwards (pids.max is 0); a child group keeps its limits.
//
// It waits at most Options.Patience, less if ctx ends first, and then names who
// stays: a StuckError, which is also the reason for the wait's end. Killing a
// group that is gone is no error.
func (g *Group) Kill(ctx context.Context) error {
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
	pids, err := g.pids()
	if err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	if slices.Contains(pids, os.Getpid()) {
		return fmt.Errorf("kill cgroup %q: the runtime itself is in it: %w", g.path, ErrInvalid)
	}
	for wait := newBackoff(); len(pids) > 0; {
		err := g.killOnce()
		if sleepErr := wait.sleep(ctx); sleepErr != nil {
			return errors.Join(g.stuck("kill", sleepErr), err)
		}
		if pids, err = g.pids(); err != nil {
			return fmt.Errorf("kill: %w", err)
		}
	}
	return nil
}

// killOnce thaws, kills at one stroke what the cgroup2 tree holds, and signals
// what is listed elsewhere: a container with privileges can leave one tree and
// stay in another. Its errors matter only if processes stay.
func (g *Group) killOnce() error {
	err := g.thaw() // a v1-frozen process does not die, not even by cgroup.kill
	if d, ok := g.at("pids"); ok && !g.tree.v2 {
		err = errors.Join(err, d.write("pids.max", "0")) // a fork bomb outruns a loop
	}
	if d, ok := g.unified(); ok {
		if killErr := d.write("cgroup.kill", "1"); killErr != nil && !gone(killErr) {
			err = errors.Join(err, killErr)
		}
	}
	return errors.Join(err, g.signalAll())
}

// signalBatch bounds the pidfds open at a time.
const signalBatch = 128

// signalAll sends SIGKILL to each listed process by a pidfd. The list is read
// again after the pidfds are open: a number that was reused by a stranger in
// between is not in it.
func (g *Group) signalAll() error {
	pids, err := g.pids()
	if err != nil {
		return err
	}
	var errs []error
	for batch := range slices.Chunk(pids, signalBatch) {
		errs = append(errs, g.signal(batch))
	}
	return errors.Join(errs...)
}

func (g *Group) signal(pids []int) error {
	fds := make(map[int]int, len(pids))
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	for _, pid := range pids {
		if pid <= 0 || pid == os.Getpid() {
			continue
		}
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			fds[pid] = fd
		}
	}
	still, err := g.pids()
	if err != nil {
		return err
	}
	var errs []error
	for _, pid := range still {
		fd, ok := fds[pid]
		if !ok {
			continue
		}
		if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("signal process %d: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}
