package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// BindNamespace binds the namespace of fd at path, which is made: an nsfs file
// where CNI plugins and `ip netns` expect it. The parent directory is made too,
// mode 0755. A bind that a dead daemon left there is replaced.
func BindNamespace(fd int, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := UnbindNamespace(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), path, "", unix.MS_BIND, ""); err != nil {
		os.Remove(path)
		return &fs.PathError{Op: "bind namespace", Path: path, Err: err}
	}
	return nil
}

// UnbindNamespace is BindNamespace undone. A path that is not there is fine.
func UnbindNamespace(path string) error {
	if err := Unmount(path); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// MountTmpfs mounts a private tmpfs of at most size bytes with this mode at an
// existing directory of the daemon's own.
func MountTmpfs(path string, size int64, mode os.FileMode) error {
	data := fmt.Sprintf("mode=%o,size=%d", modeBits(mode), size)
	if err := unix.Mount("shm", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, data); err != nil {
		return &fs.PathError{Op: "mount tmpfs", Path: path, Err: err}
	}
	return nil
}

// modeBits takes a mode as written in octal (0o1777), not as os.FileMode has it.
func modeBits(mode os.FileMode) uint32 { return uint32(mode) & 0o7777 }

// Unmount detaches what is mounted at path, which no symlink may lead to.
// Nothing mounted there, or no path, is fine.
func Unmount(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return &fs.PathError{Op: "unmount", Path: path, Err: err}
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
