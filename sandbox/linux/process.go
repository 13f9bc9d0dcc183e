package linux

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// PidOf gives the number of a pidfd's process in the namespace of our /proc;
// syscall.ESRCH when it has been reaped. Between this call and the use of the
// number the process can end; check the pidfd afterwards (Alive).
func PidOf(pidfd int) (int, error) {
	b, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		v, ok := bytes.CutPrefix(line, []byte("Pid:"))
		if !ok {
			continue
		}
		pid, err := strconv.Atoi(string(bytes.TrimSpace(v)))
		if err != nil || pid <= 0 {
			return 0, fmt.Errorf("process of pidfd: %w", unix.ESRCH)
		}
		return pid, nil
	}
	return 0, fmt.Errorf("not a pidfd: %w", unix.EBADF)
}

// Alive tells whether a pidfd's process has not been reaped.
func Alive(pidfd int) error {
	if err := unix.PidfdSendSignal(pidfd, 0, nil, 0); err != nil {
		return fmt.Errorf("process: %w", err)
	}
	return nil
}

// inRootOf opens, without reading it, a directory in the root of a process; no
// part of its name may be a symlink. What it is remains to be checked.
func inRootOf(pidfd int, name string) (int, error) {
	pid, err := PidOf(pidfd)
	if err != nil {
		return -1, err
	}
	root, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("root of process %d: %w", pid, err)
	}
	defer unix.Close(root)
	fd, err := openat2(root, name, unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return -1, fmt.Errorf("/%s of process %d: %w", name, pid, err)
	}
	return fd, nil
}

// ProcOf opens, without reading it, the procfs that a process has mounted at
// /proc in its own mount namespace. It must be the root of a procfs; a
// container that may mount can put anything there (CVE-2025-52881).
func ProcOf(pidfd int) (int, error) {
	fd, err := inRootOf(pidfd, "proc")
	if err != nil {
		return -1, err
	}
	if err = isProcfs(fd); err == nil {
		err = Alive(pidfd)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("/proc of the process: %w", err)
	}
	return fd, nil
}

// Proc opens our own /proc, checked to be the root of a procfs.
func Proc() (int, error) {
	fd, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open /proc: %w", err)
	}
	if err := isProcfs(fd); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("/proc: %w", err)
	}
	return fd, nil
}

// procRoot is the inode number of the root of every procfs.
const procRoot = 1

func isProcfs(fd int) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if fs.Type != unix.PROC_SUPER_MAGIC || st.Ino != procRoot {
		return fmt.Errorf("not a procfs: %w", unix.EINVAL)
	}
	return nil
}
