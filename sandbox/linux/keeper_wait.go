package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ended is how a process ended.
type Ended struct {
	Code   int // as a shell has it: 128+Signal when a signal ended the process
	Signal int // 0 when it ended by itself
}

// PeekExit tells how the child behind a pidfd ended, leaving it a zombie. ok is
// false while it runs. syscall.ECHILD: it is not (or no longer) our child.
func PeekExit(pidfd int) (e Ended, ok bool, err error) {
	_, e, ok, err = waitid(unix.P_PIDFD, pidfd, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG)
	return e, ok, err
}

// PeekAnyExit is PeekExit for whichever child has ended, and returns its pid.
func PeekAnyExit() (pid int, ok bool, err error) {
	pid, _, ok, err = waitid(unix.P_ALL, 0, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG)
	return pid, ok, err
}

// Reap takes the zombie behind a pidfd away. It does not wait: ok is false
// while the process runs.
func Reap(pidfd int) (e Ended, ok bool, err error) {
	_, e, ok, err = waitid(unix.P_PIDFD, pidfd, unix.WEXITED|unix.WNOHANG)
	return e, ok, err
}

// ReapPid is Reap for a child that no pidfd is held of. It must be known to be
// a zombie of ours (PeekAnyExit), or the number may mean another process.
func ReapPid(pid int) error {
	_, _, _, err := waitid(unix.P_PID, pid, unix.WEXITED|unix.WNOHANG)
	return err
}

// waitid reads the parts of siginfo_t that x/sys keeps to itself; the layout is
// the same on all 64-bit architectures.
func waitid(idtype, id, options int) (pid int, e Ended, ok bool, err error) {
	var si unix.Siginfo
	for {
		err = unix.Waitid(idtype, id, &si, options, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return 0, e, false, fmt.Errorf("waitid: %w", err)
	}
	b := (*[unsafe.Sizeof(si)]byte)(unsafe.Pointer(&si))
	pid = int(int32(binary.NativeEndian.Uint32(b[16:])))
	status := int(int32(binary.NativeEndian.Uint32(b[24:])))
	const exited = 1 // CLD_EXITED; CLD_KILLED and CLD_DUMPED carry a signal
	if si.Code == exited {
		e.Code = status
	} else {
		e.Code, e.Signal = 128+status, status
	}
	return pid, e, pid != 0, nil
}

// pidfdInfo is struct pidfd_info up to its first published size (64 bytes).
type pidfdInfo struct {
	mask, cgroup             uint64
	pid, tgid, ppid          uint32
	ruid, rgid, euid, egid   uint32
	suid, sgid, fsuid, fsgid uint32
	exitCode                 int32
}

// LastExit tells how a process that somebody else has reaped ended
// (PIDFD_GET_INFO with PIDFD_INFO_EXIT, Linux 6.15). The pidfd must be older
// than the reaping. ok is false until then; an error means that this kernel
// cannot tell.
func LastExit(pidfd int) (e Ended, ok bool, err error) {
	const infoExit = 1 << 3
	i := pidfdInfo{mask: infoExit}
	req := uintptr(3<<30 | unsafe.Sizeof(i)<<16 | 0xFF<<8 | 11)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(pidfd), req, uintptr(unsafe.Pointer(&i)))
	switch {
	case errno == unix.ESRCH: // being reaped just now
		return e, false, nil
	case errno != 0:
		return e, false, fmt.Errorf("exit of a foreign process: %w", errno)
	case i.mask&infoExit == 0:
		return e, false, nil
	}
	ws := syscall.WaitStatus(i.exitCode)
	if ws.Signaled() {
		return Ended{Code: 128 + int(ws.Signal()), Signal: int(ws.Signal())}, true, nil
	}
	return Ended{Code: ws.ExitStatus()}, true, nil
}

// BecomeSubreaper makes orphans below this process its children.
func BecomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	return nil
}
