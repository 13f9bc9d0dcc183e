package wire

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Listen makes the keeper's socket at path, in place of a dead one, for its
// owner only. The descriptor is the caller's; it is not put into non-blocking mode.
func Listen(path string) (int, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return -1, fmt.Errorf("keeper socket: %w", err)
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("keeper socket: %w", err)
	}
	if err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err == nil {
		if err = os.Chmod(path, 0o600); err == nil {
			err = syscall.Listen(fd, 16)
		}
	}
	if err != nil {
		_ = syscall.Close(fd)
		return -1, fmt.Errorf("keeper socket %q: %w", path, err)
	}
	return fd, nil
}

// Dial connects to the keeper that listens at path. Nobody there is
// syscall.ECONNREFUSED or fs.ErrNotExist.
func Dial(path string) (*Conn, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("keeper socket: %w", err)
	}
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: path}); err != nil { // a full backlog is EAGAIN, never a wait
		_ = syscall.Close(fd)
		return nil, fmt.Errorf("keeper socket %q: %w", path, err)
	}
	return NewConn(fd)
}

// Pair returns two connected ends, for a keeper that is started with a connection and for tests.
func Pair() (*Conn, *Conn, error) {
	p, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("keeper socket: %w", err)
	}
	a, err := NewConn(p[0])
	if err == nil {
		var b *Conn
		if b, err = NewConn(p[1]); err == nil {
			return a, b, nil
		}
	}
	CloseAll(p[:])
	return nil, nil, err
}
