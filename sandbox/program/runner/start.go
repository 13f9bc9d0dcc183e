package runner

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

// Child is a process that Start made.
type Child struct {
	Pid   int // 0: it has done its work and ended (a Pod)
	Pidfd int // the caller's to close; -1 with Pid 0
	// Offered are descriptors fetched from the child, in the order of its
	// offer; the caller's to close.
	Offered []int
}

// Failed says which step of a program failed.
type Failed struct {
	// Step is the index of the step in Form.Steps; -1: the keeper failed
	// before the first (clone, memory).
	Step int
	// Errno is the step's error. EINTR: the process was killed at this step
	// (an OOM kill in a cgroup with too little memory looks like that).
	// ETIMEDOUT: the step did not come to an end in time.
	Errno syscall.Errno
	// Left is a process that has been killed and could not be reaped in time,
	// or nil: a tracer or a hung file system holds it. It is the caller's to
	// reap, and its Pidfd to close.
	Left *Child
}

func (f *Failed) Error() string { return fmt.Sprintf("step %d: %v", f.Step, f.Errno) }

// Unwrap gives the errno.
func (f *Failed) Unwrap() error { return f.Errno }

// ErrUsed: a program was started before.
var ErrUsed = errors.New("program was started before")

// Start clones the child, waits until it has made its execve (or has ended, for
// a program without one), and does what it asks for on the way. ctx bounds the
// wait; at its end the child is killed. An error of a step is a *Failed.
//
// Any number of programs may be started at once. Whoever reaps children in this
// process must leave alone those it does not know.
func (l *Loaded) Start(ctx context.Context) (Child, error) {
	if l.used || l.steps == nil {
		return Child{}, ErrUsed
	}
	l.used = true
	r, err := l.run()
	if err != nil {
		return Child{}, err
	}
	if l.two {
		return r.two(ctx)
	}
	return r.one(ctx)
}

// running is the first child and what ties it to us.
type running struct {
	l          *Loaded
	pid, pidfd int
	sync       int // our end of the socket, -1 in a program of two clones
}

func (l *Loaded) status() *status { return (*status)(unsafe.Pointer(&l.pages.bytes[0])) }

// words of the second page, which a second child does not have.
func (l *Loaded) secondPid() int {
	return int(*(*int32)(unsafe.Pointer(&l.pages.bytes[pageSize()])))
}

// run clones. With one clone, the end of the socket that the child holds tells
// of its execve. No other child may hold it too, or the end comes late, so the
// socket is made, passed and closed under the lock that os/exec uses as well.
func (l *Loaded) run() (*running, error) {
	// Clone arguments and pidfd lie in the second page: a Go stack can move.
	page := l.pages.bytes[pageSize():]
	args := (*cloneArgs)(unsafe.Pointer(&page[64]))
	pidfd := (*int32)(unsafe.Pointer(&page[32]))
	*args = cloneArgs{
		flags:      l.clone | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND,
		pidfd:      uint64(uintptr(unsafe.Pointer(pidfd))),
		exitSignal: uint64(unix.SIGCHLD),
	}
	if l.cgroup >= 0 {
		args.flags |= unix.CLONE_INTO_CGROUP
		args.cgroup = uint64(l.cgroup)
	}
	r := &running{l: l, sync: -1}
	syscall.ForkLock.Lock()
	pid, err := l.cloneLocked(r, args)
	syscall.ForkLock.Unlock()
	if err != nil {
		return nil, err
	}
	r.pid, r.pidfd = pid, int(*pidfd)
	return r, nil
}

func (l *Loaded) cloneLocked(r *running, args *cloneArgs) (int, error) {
	if l.two {
		return l.cloneNow(args)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, keeperFailed(err)
	}
	for _, p := range l.syncs {
		*p.word = uint64(pair[1])
	}
	for _, p := range l.peers {
		*p.word = uint64(pair[0])
	}
	pid, err := l.cloneNow(args)
	_ = unix.Close(pair[1])
	if err != nil {
		_ = unix.Close(pair[0])
		return 0, err
	}
	r.sync = pair[0]
	return pid, nil
}

func (l *Loaded) cloneNow(args *cloneArgs) (int, error) {
	l.withhold()
	pid := cloneRun(args, unsafe.Sizeof(*args), &l.steps[0], uintptr(len(l.steps)), l.status())
	if pid < 0 {
		return 0, keeperFailed(syscall.Errno(-pid))
	}
	return int(pid), nil
}

// keeperFailed is an error before the first step.
func keeperFailed(err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		errno = unix.EIO
	}
	return &Failed{Step: -1, Errno: errno}
}

// one waits for a program of one clone: services, then the end of the socket.
func (r *running) one(ctx context.Context) (Child, error) {
	wire, err := newWaiter(r.sync)
	if err != nil {
		return Child{}, r.abandon(ctx, keeperFailed(err))
	}
	defer wire.close()
	c := Child{Pid: r.pid, Pidfd: r.pidfd}
	for served := 0; ; served++ {
		more, err := wire.read(ctx)
		if err == nil && !more {
			break
		}
		if err == nil {
			err = r.serve(served, &c)
		}
		if err == nil {
			err = wire.answer()
		}
		if err != nil {
			closeAll(c.Offered)
			return Child{}, r.abandon(ctx, err)
		}
	}
	if err := r.ended(); err != nil {
		closeAll(c.Offered)
		return Child{}, r.abandon(ctx, err)
	}
	if r.l.steps[r.progress()].flags&FlagExec != 0 {
		return c, nil
	}
	c.Pid, c.Pidfd = 0, -1 // a program without execve has ended
	if left := reapKilled(ctx, r.pid, r.pidfd); left != nil {
		closeAll(c.Offered)
		return Child{}, &Failed{Step: r.origin(), Errno: unix.ETIMEDOUT, Left: left}
	}
	return c, nil
}

// two waits for a program of two clones. The first child waits for the second's
// execve or end (CLONE_VFORK) and ends; then the second's pid is in the page
// that the second never had.
func (r *running) two(ctx context.Context) (Child, error) {
	if err := waitExit(ctx, r.pidfd); err != nil {
		return Child{}, r.abandon(ctx, &Failed{Step: r.origin(), Errno: unix.ETIMEDOUT})
	}
	err := r.ended()
	second := r.l.secondPid()
	if err == nil && (second <= 0 || r.l.steps[r.progress()].flags&FlagExec == 0) {
		err = &Failed{Step: r.origin(), Errno: unix.EINTR}
	}
	if err != nil {
		return Child{}, r.abandon(ctx, err)
	}
	if left := reapKilled(ctx, r.pid, r.pidfd); left != nil {
		err = &Failed{Step: r.origin(), Errno: unix.ETIMEDOUT, Left: left}
	}
	// Our child and not reaped: the number cannot have been given away.
	pidfd, e := unix.PidfdOpen(second, 0)
	if e != nil {
		return Child{}, errors.Join(err, keeperFailed(e))
	}
	if err != nil {
		_ = reapKilled(ctx, second, pidfd)
		return Child{}, err
	}
	return Child{Pid: second, Pidfd: pidfd}, nil
}

// progress is the index of the last step that was begun, checked.
func (r *running) progress() int {
	return int(min(r.l.status().progress, uint64(len(r.l.steps)-1)))
}

// origin is that step's index in the program as it was built.
func (r *running) origin() int { return r.l.origin[r.progress()] }

// ended looks at how the list ended; nil: in an execve, or in the last step of
// a program that has none.
func (r *running) ended() error {
	st := r.l.status()
	switch errno := st.errno; {
	case errno == statusFell:
		return &Failed{Step: r.origin(), Errno: telling(st.noted)}
	case errno != 0:
		i := min(st.failed, uint64(len(r.l.steps)-1))
		return &Failed{Step: r.l.origin[i], Errno: syscall.Errno(errno & 0xfff)}
	}
	last := r.progress() == len(r.l.steps)-1
	if r.l.steps[r.progress()].flags&FlagExec == 0 && !last {
		return &Failed{Step: r.origin(), Errno: unix.EINTR}
	}
	return nil
}

// telling picks from the errors of several tries to execve the one that helps
// most: a file that was there but may not be run, before one that was not there.
func telling(noted uint64) syscall.Errno {
	for _, e := range []syscall.Errno{unix.EACCES, unix.ENOENT, unix.ENOTDIR} {
		if noted&(1<<e) != 0 {
			return e
		}
	}
	return unix.ENOENT
}

// abandon kills what there is of the program and reaps it; err becomes a
// *Failed that says what could not be reaped.
func (r *running) abandon(ctx context.Context, err error) error {
	var f *Failed
	if !errors.As(err, &f) {
		f = &Failed{Step: r.origin(), Errno: unix.ETIMEDOUT}
		var errno syscall.Errno
		if errors.As(err, &errno) {
			f.Errno = errno
		}
	}
	if left := reapKilled(ctx, r.pid, r.pidfd); left != nil {
		f.Left = left
	}
	if !r.l.two {
		return f
	}
	if second := r.l.secondPid(); second > 0 {
		if fd, err := unix.PidfdOpen(second, 0); err == nil {
			if left := reapKilled(ctx, second, fd); left != nil {
				f.Left = left
			}
		}
	}
	return f
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = linux.Close(fd)
	}
}
