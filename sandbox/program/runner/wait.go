package runner

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// reapLimit bounds the wait for a process that was killed.
const reapLimit = 2 * time.Second

// waiter is our end of the socket to a child, read by the runtime's poller: no
// thread waits.
type waiter struct{ f *os.File }

func newWaiter(fd int) (*waiter, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &waiter{os.NewFile(uintptr(fd), "child")}, nil
}

func (w *waiter) close() { _ = w.f.Close() }

// read waits for a byte; false: the child has let go of the socket.
func (w *waiter) read(ctx context.Context) (bool, error) {
	defer context.AfterFunc(ctx, func() { _ = w.f.SetReadDeadline(time.Unix(1, 0)) })()
	var b [1]byte
	n, err := w.f.Read(b[:])
	switch {
	case n == 1:
		return true, nil
	case errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET):
		return false, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, unix.ETIMEDOUT
	}
	return false, err
}

func (w *waiter) answer() error {
	_, err := w.f.Write([]byte{1})
	return err
}

// waitExit waits until the process of a pidfd has ended.
func waitExit(ctx context.Context, pidfd int) error {
	fd, err := unix.FcntlInt(uintptr(pidfd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return err
	}
	f := os.NewFile(uintptr(fd), "process")
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })()
	return raw.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		return err == nil && n == 1
	})
}

// reapKilled kills a child, reaps it and closes its pidfd. What cannot be reaped
// in time (a tracer has it, or it sleeps uninterruptibly) is returned.
func reapKilled(ctx context.Context, pid, pidfd int) *Child {
	_ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reapLimit)
	defer cancel()
	for wait := time.Millisecond; ; wait *= 2 {
		_ = waitExit(ctx, pidfd)
		got, err := unix.Wait4(pid, nil, unix.WNOHANG|unix.WALL, nil)
		if got == pid || errors.Is(err, unix.ECHILD) {
			_ = unix.Close(pidfd)
			return nil
		}
		select {
		case <-ctx.Done():
			return &Child{Pid: pid, Pidfd: pidfd}
		case <-time.After(wait): // a tracer that lets go does not make the pidfd ready again
		}
	}
}
