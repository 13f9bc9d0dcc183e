package linux

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// OpenProcess returns a pidfd (close-on-exec) of a process. Whether it is the
// one that was meant is the caller's to check, once the pidfd is there.
// Errors: syscall.ESRCH when there is none.
func OpenProcess(pid int) (int, error) { return unix.PidfdOpen(pid, 0) }

// SignalProcess sends a signal to the process behind a pidfd and to no other.
// Errors: syscall.ESRCH when it has been reaped.
func SignalProcess(pidfd int, s syscall.Signal) error {
	return unix.PidfdSendSignal(pidfd, s, nil, 0)
}

// ProcessEnded says whether the process behind a pidfd has ended, reaped or not.
func ProcessEnded(pidfd int) bool {
	p := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 1
}
