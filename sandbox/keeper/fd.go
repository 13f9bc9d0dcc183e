package keeper

import (
	"errors"

	"golang.org/x/sys/unix"
)

// duplicate copies a descriptor.
func duplicate(fd int) (int, error) {
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
}

// queued returns how many bytes can be read at once; 0 when it cannot be told.
func queued(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	if err != nil {
		return 0
	}
	return n
}

// again repeats a call that a signal interrupted.
func again(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// pipe makes a pipe that cannot block its reader.
func pipe() (r, w int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return -1, -1, err
	}
	return p[0], p[1], nil
}

// ended reports whether the process of a pidfd has ended.
func ended(pidfd int) bool {
	p := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := again(func() (int, error) { return unix.Poll(p, 0) })
	return err == nil && n == 1
}
