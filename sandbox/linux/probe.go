package linux

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Feature is something of the kernel that was tried.
type Feature struct {
	Name     string
	Needed   bool  // nothing can run without it
	Err      error // nil: it is there
	Degraded string
}

// Probe tries what the sandbox uses of the kernel, by doing it, not by version.
// It leaves nothing behind.
func Probe() []Feature {
	list := []Feature{
		{Name: "openat2", Needed: true, Err: tryFd(func() (int, error) {
			return unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
		})},
		{Name: "mounts by descriptor", Needed: true, Err: tryFd(func() (int, error) { return NewFS("tmpfs", 0) })},
		{Name: "mount attributes", Needed: true, Err: tryAttr()},
		{Name: "pidfd", Needed: true, Err: tryFd(func() (int, error) { return unix.PidfdOpen(os.Getpid(), 0) })},
		{Name: "pidfd_getfd", Needed: true, Err: tryGetfd()},
		{Name: "close_range", Needed: true, Err: unix.CloseRange(1<<30, 1<<30, unix.CLOSE_RANGE_CLOEXEC)},
		{Name: "sealed memfd", Needed: true, Err: tryFd(func() (int, error) { return SealedMemfd("probe", []byte("x")) })},
		{Name: "overlay", Needed: true, Err: tryKnown("overlay")},
		{Name: "mqueue", Needed: true, Err: tryKnown("mqueue")},
		{Name: "seccomp filter", Err: trySeccomp(), Degraded: "containers with a seccomp profile cannot be started"},
		{Name: "exit codes of processes that others reaped", Err: tryInfo(), Degraded: "Linux 6.15; without it an exit during a restart of both processes is reported as unknown"},
		{Name: "CAP_SYS_RESOURCE", Err: tryCap(unix.CAP_SYS_RESOURCE), Degraded: "an OOM score below the daemon's own is clamped"},
	}
	return list
}

func tryFd(f func() (int, error)) error {
	fd, err := f()
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

func tryAttr() error { return RecursiveReadonly() }

// RecursiveReadonly tries to make a mount read-only with all below it.
func RecursiveReadonly() error {
	return tryFd(func() (int, error) {
		fd, err := NewFS("tmpfs", 0)
		if err != nil {
			return -1, err
		}
		if err := SetAttr(fd, true, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
			_ = unix.Close(fd)
			return -1, err
		}
		return fd, nil
	})
}

func tryGetfd() error {
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return err
	}
	defer unix.Close(self)
	return tryFd(func() (int, error) { return unix.PidfdGetfd(self, self, 0) })
}

// tryKnown asks for a file system by name without mounting it.
func tryKnown(fstype string) error {
	return tryFd(func() (int, error) { return unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC) })
}

// trySeccomp hands the kernel no filter: EFAULT says that it would take one.
func trySeccomp() error {
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, 0)
	if errno == unix.EFAULT || errno == unix.EACCES {
		return nil
	}
	return fmt.Errorf("seccomp: %w", errno)
}

func tryInfo() error {
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return err
	}
	defer unix.Close(self)
	_, _, err = LastExit(self)
	return err
}

func tryCap(n int) error {
	held, err := HeldCaps()
	if err == nil && !held.Has(n) {
		err = errors.New("not held")
	}
	return err
}
