package linux

import (
	"context"

	"golang.org/x/sys/unix"
)

// Close closes a descriptor.
func Close(fd int) error { return unix.Close(fd) }

// CloseAll closes descriptors; negative ones are none.
func CloseAll(fds ...int) {
	for _, fd := range fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// Dup gives another descriptor of the same open file, 3 or higher.
func Dup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3) }

// Bounded runs f, which opens a descriptor, and gives up waiting at the end of
// ctx: a path on a dead network file system can hold an open for ever. A
// descriptor that comes after that is closed.
func Bounded(ctx context.Context, f func() (int, error)) (int, error) {
	type result struct {
		fd  int
		err error
	}
	done := make(chan result)
	go func() {
		fd, err := f()
		select {
		case done <- result{fd, err}:
		case <-ctx.Done():
			if err == nil {
				_ = unix.Close(fd)
			}
		}
	}()
	select {
	case r := <-done:
		return r.fd, r.err
	case <-ctx.Done():
		return -1, ctx.Err()
	}
}

// WidenPipe lets a pipe hold as many bytes, if the host admits it.
func WidenPipe(fd, size int) { _, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, size) }
