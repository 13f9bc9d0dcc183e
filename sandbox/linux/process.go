package linux

import (
	"io/fs"
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

// OpenNamespace opens a namespace by its bind or its name below /proc.
func OpenNamespace(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open namespace", Path: path, Err: err}
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil || st.Type != unix.NSFS_MAGIC {
		unix.Close(fd)
		return -1, &fs.PathError{Op: "open namespace", Path: path, Err: unix.EINVAL}
	}
	return fd, nil
}

// Dup returns a close-on-exec copy of fd.
func Dup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3) }

// Close closes fd.
func Close(fd int) error { return unix.Close(fd) }
