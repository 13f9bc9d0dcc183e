package linux

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrNotTerminal: what lies in a devpts mount is not the kernel's ptmx.
var ErrNotTerminal = errors.New("not a pseudo terminal")

// OpenTerminal makes a terminal in the devpts mount at a descriptor. No name
// that a container could have changed is looked at: ptmx must be the mount's own
// node, not something bound over it, and the slave comes from the master
// (CVE-2025-52565). The caller closes both.
func OpenTerminal(devpts int) (master, slave int, err error) {
	master, err = openat2(devpts, "ptmx", unix.OpenHow{
		Flags:   unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return -1, -1, fmt.Errorf("open ptmx: %w", err)
	}
	if err = checkMaster(master); err == nil {
		err = unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = peer(master)
	}
	if err != nil {
		_ = unix.Close(master)
		return -1, -1, fmt.Errorf("open terminal: %w", err)
	}
	return master, slave, nil
}

func peer(master int) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

func checkMaster(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(5, 2) || fs.Type != unix.DEVPTS_SUPER_MAGIC {
		return ErrNotTerminal
	}
	return nil
}

// SetTerminal gives a terminal its size and its slave to a user of the host.
func SetTerminal(master, slave int, rows, cols uint16, uid int) error {
	if rows != 0 || cols != 0 {
		if err := unix.IoctlSetWinsize(master, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
			return fmt.Errorf("size of terminal: %w", err)
		}
	}
	if err := unix.Fchown(slave, uid, -1); err != nil {
		return fmt.Errorf("owner of terminal: %w", err)
	}
	return nil
}

// ResizeTerminal gives a terminal, by its master, a new size.
func ResizeTerminal(master int, rows, cols uint16) error {
	return unix.IoctlSetWinsize(master, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
}

// DevptsOf opens what a process has mounted at its /dev/pts: for terminals in a
// container whose own descriptor was lost. It must be a devpts; which one does
// not matter, a terminal of it is made by the mount's own ptmx (OpenTerminal).
func DevptsOf(pidfd int) (int, error) {
	fd, err := inRootOf(pidfd, "dev/pts")
	if err != nil {
		return -1, err
	}
	var fs unix.Statfs_t
	if err = unix.Fstatfs(fd, &fs); err == nil && fs.Type != unix.DEVPTS_SUPER_MAGIC {
		err = ErrNotTerminal
	}
	if err == nil {
		err = Alive(pidfd)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("/dev/pts of the process: %w", err)
	}
	return fd, nil
}
