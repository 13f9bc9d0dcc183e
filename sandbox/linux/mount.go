package linux

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Option is an option of a file system; an empty Value makes it a flag.
type Option struct{ Key, Value string }

// NewFS makes a file system that is mounted nowhere yet (fsopen, fsmount).
// attrs are MOUNT_ATTR_* flags. The caller closes the descriptor; closing it
// before it is attached undoes the mount.
func NewFS(fstype string, attrs int, options ...Option) (int, error) {
	ctx, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open file system %s: %w", fstype, err)
	}
	defer unix.Close(ctx)
	for _, o := range append([]Option{{"source", fstype}}, options...) { // what df and mountinfo show
		if o.Value == "" {
			err = unix.FsconfigSetFlag(ctx, o.Key)
		} else {
			err = unix.FsconfigSetString(ctx, o.Key, o.Value)
		}
		if err != nil {
			return -1, fmt.Errorf("%s option %q%s: %w", fstype, o.Key, because(ctx), err)
		}
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return -1, fmt.Errorf("make file system %s%s: %w", fstype, because(ctx), err)
	}
	fd, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return -1, fmt.Errorf("mount file system %s: %w", fstype, err)
	}
	return fd, nil
}

// because reads what the kernel has to say about a file system context that refused.
func because(ctx int) string {
	b := make([]byte, 512)
	n, err := unix.Read(ctx, b)
	if err != nil || n < 3 {
		return ""
	}
	return " (" + unix.ByteSliceToString(b[2:n]) + ")" // "e " or "w " in front
}

// CloneTree makes a copy, mounted nowhere, of the mount (or part of it) at a
// descriptor, with all mounts below it when recursive. The mount must belong to
// the caller's mount namespace.
func CloneTree(fd int, recursive bool) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	c, err := unix.OpenTree(fd, "", flags)
	if err != nil {
		return -1, fmt.Errorf("clone mount: %w", err)
	}
	return c, nil
}

// SetAttr changes attributes of the mount at a descriptor.
func SetAttr(fd int, recursive bool, a unix.MountAttr) error {
	if a == (unix.MountAttr{}) {
		return nil
	}
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if err := unix.MountSetattr(fd, "", flags, &a); err != nil {
		return fmt.Errorf("set mount attributes: %w", err)
	}
	return nil
}

// OpenPath opens a path of the host without reading it (O_PATH); symlinks are followed.
func OpenPath(path string) (int, error) {
	return openat2(unix.AT_FDCWD, path, unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC})
}

// openat2 tries again what the kernel could not do just now.
func openat2(dir int, name string, how unix.OpenHow) (int, error) {
	for try := 0; ; try++ {
		fd, err := unix.Openat2(dir, name, &how)
		if (err == unix.EAGAIN || err == unix.EINTR) && try < 100 {
			continue // a rename raced with a scoped walk
		}
		return fd, err
	}
}

// Mode gives the st_mode of what a descriptor refers to.
func Mode(fd int) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	return st.Mode, nil
}

// IsDir tells whether a descriptor refers to a directory.
func IsDir(fd int) (bool, error) {
	m, err := Mode(fd)
	return m&unix.S_IFMT == unix.S_IFDIR, err
}
