package keeper

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
	"slipway/sandbox/wire"
)

// Run is a keeper's life: it returns when there is nothing left to hold and no
// daemon (nil), or when it cannot go on. state is the memfd that an earlier
// program of this process left (Options.Exec), -1 for a new keeper.
func Run(o Options, state int) error {
	if err := linux.BecomeSubreaper(); err != nil {
		return err
	}
	// What was in the daemon's memory came through ours: no other user's tracer, no core file.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("not dumpable: %w", err)
	}
	unix.CloseOnExec(o.Listener) // it came as a plain number; a child that kept it would answer for a dead keeper
	k, err := newKeeper(o)
	if err != nil {
		return err
	}
	defer k.close()
	var s *session
	if state >= 0 {
		if s, err = k.restore(state); err != nil {
			return fmt.Errorf("state of the keeper before: %w", err)
		}
	}
	return k.run(s)
}

// run serves daemons one after the other; s is one that is connected already.
func (k *Keeper) run(s *session) error {
	go k.spin()
	go k.retire()
	go k.reapOrphans()
	if err := syscall.SetNonblock(k.o.Listener, true); err != nil {
		return fmt.Errorf("keeper socket: %w", err)
	}
	l := os.NewFile(uintptr(k.o.Listener), "keeper socket")
	defer l.Close()
	go func() { k.fail(k.accept(l, s)) }()
	select {
	case <-k.done:
		return nil
	case err := <-k.failed:
		k.end()
		return err
	}
}

// spin runs the loop until it fails.
func (k *Keeper) spin() {
	if err := k.loop.run(); err != nil {
		k.fail(err)
	}
}

// fail ends run with an error.
func (k *Keeper) fail(err error) {
	select {
	case k.failed <- err:
	default: // it has ended, or has an error already
	}
}

// accept takes one daemon at a time. A new one replaces the one before only
// when that is gone: two daemons would both think that they own everything.
func (k *Keeper) accept(l *os.File, s *session) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	served := serveAside(s)
	for {
		c, err := acceptOne(raw)
		if err != nil {
			return err
		}
		select {
		case <-served:
		case <-time.After(turnLimit):
			k.log.Printf("a second daemon was turned away")
			_ = c.Close()
			continue
		}
		uid, err := c.PeerUID()
		if err != nil || int(uid) != os.Geteuid() {
			k.log.Printf("user %d was turned away: %v", uid, err)
			_ = c.Close()
			continue
		}
		served = serveAside(&session{k: k, conn: c})
	}
}

// serveAside serves a daemon; the channel is closed when it is gone.
func serveAside(s *session) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if s != nil {
			s.serve()
		}
	}()
	return done
}

// acceptOne waits for a connection.
func acceptOne(raw syscall.RawConn) (*wire.Conn, error) {
	fd := -1
	var err error
	if e := raw.Read(func(l uintptr) bool {
		fd, _, err = syscall.Accept4(int(l), syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK)
		return !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR) && !errors.Is(err, syscall.ECONNABORTED)
	}); e != nil {
		return nil, e
	}
	if err != nil {
		return nil, fmt.Errorf("keeper socket: %w", err)
	}
	return wire.NewConn(fd)
}

// reapOrphans sweeps whenever a child has ended.
func (k *Keeper) reapOrphans() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGCHLD)
	defer signal.Stop(c)
	for {
		select {
		case <-c:
			k.sweep()
		case <-k.done:
			return
		}
	}
}

// close ends the loop and lets go of what is held. For tests: a keeper that is
// a process ends with it.
func (k *Keeper) close() {
	k.end()
	k.loop.stop()
	k.mu.Lock()
	s := k.session
	var all []*item
	for _, it := range k.items {
		all = append(all, it)
	}
	k.mu.Unlock()
	if s != nil {
		_ = s.conn.Close()
	}
	for _, it := range all {
		k.remove(it)
	}
	k.buffers.close()
}
