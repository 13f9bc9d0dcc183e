package layer

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	whPrefix   = ".wh."
	whAufs     = ".wh..wh."
	whOpaque   = ".wh..wh..opq"
	opaqueAttr = "trusted.overlay.opaque"
)

// aufs tells what aufs kept for itself, which no other file system wants.
func aufs(p string) bool {
	for part := range strings.SplitSeq(p, "/") {
		if strings.HasPrefix(part, whAufs) && part != whOpaque {
			return true
		}
	}
	return false
}

// whiteout translates a marker file. It hides only what lower layers have:
// what this layer brought itself stays, whichever came first in the tar.
func (u *unpacker) whiteout(up string, dir int, base string) error {
	if base == whOpaque {
		if up == "" {
			u.info.RootOpaque = true
		}
		return setOpaque(dir)
	}
	name := base[len(whPrefix):]
	if name == "" || name == "." || name == ".." {
		return fmt.Errorf("whiteout of %q: %w", name, ErrInvalid)
	}
	var st unix.Stat_t
	err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		err = unix.Mknodat(dir, name, unix.S_IFCHR, 0)
		if err == nil {
			u.info.Inodes++
		}
		return nameError(err)
	}
	if err != nil {
		return nameError(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	fd, err := unix.Openat(dir, name, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return setOpaque(fd)
}

func setOpaque(fd int) error {
	if err := unix.Fsetxattr(fd, opaqueAttr, []byte("y"), 0); err != nil {
		return fmt.Errorf("set attribute %q: %w", opaqueAttr, err)
	}
	return nil
}

func isOpaque(fd int) bool {
	var v [2]byte
	n, err := unix.Fgetxattr(fd, opaqueAttr, v[:])
	return err == nil && n == 1 && v[0] == 'y'
}

func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}
