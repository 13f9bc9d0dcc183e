package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxDepth bounds the depth of a tree to copy: one descriptor pair is open for each level.
const maxDepth = 256

// CopyTree copies the content of a directory into another, both by descriptor
// (O_PATH will do), with owners, modes, times and extended attributes, those of
// the directory itself included. No symlink is followed; sockets and devices are
// left out. What is there already under the same name is an error.
func CopyTree(ctx context.Context, from, to int) error {
	c := copier{ctx: ctx}
	return c.dir(from, to, 0)
}

type copier struct{ ctx context.Context }

// dir copies one directory; from and to stay open.
func (c *copier) dir(from, to, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("deeper than %d directories: %w", maxDepth, unix.ELOOP)
	}
	src, err := Reopen(from, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(src)
	dst, err := Reopen(to, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(dst)
	names, err := readNames(src)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if err := c.entry(src, dst, name, depth); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return copyMeta(src, dst)
}

// readNames reads a directory without taking the descriptor over.
func readNames(fd int) ([]string, error) {
	d, err := Dup(fd)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(d), "directory")
	defer f.Close()
	return f.Readdirnames(-1)
}

func (c *copier) entry(src, dst int, name string, depth int) error {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
	from, err := openat2(src, name, how)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	mode, err := Mode(from)
	if err != nil {
		return err
	}
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err := unix.Mkdirat(dst, name, 0o700); err != nil {
			return err
		}
		to, err := openat2(dst, name, how)
		if err != nil {
			return err
		}
		defer unix.Close(to)
		return c.dir(from, to, depth+1)
	case unix.S_IFREG:
		return c.file(from, dst, name)
	case unix.S_IFLNK:
		return copyLink(from, dst, name)
	case unix.S_IFIFO:
		return copyFIFO(from, dst, name, mode)
	}
	return nil
}

func (c *copier) file(from, dst int, name string) error {
	src, err := Reopen(from, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	defer unix.Close(src)
	to, err := unix.Openat(dst, name, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(to)
	if err := c.bytes(src, to); err != nil {
		return err
	}
	return copyMeta(src, to)
}

// bytes copies in pieces, so that the end of ctx is seen.
func (c *copier) bytes(src, to int) error {
	buf := make([]byte, 256<<10)
	for {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		n, err := unix.Read(src, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return nil
		}
		if err := writeAll(to, buf[:n]); err != nil {
			return err
		}
	}
}

func copyLink(from, dst int, name string) error {
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(from, "", b)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	if err := unix.Symlinkat(string(b[:n]), dst, name); err != nil {
		return err
	}
	return unix.Fchownat(dst, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
}

func copyFIFO(from, dst int, name string, mode uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	if err := unix.Mknodat(dst, name, unix.S_IFIFO|mode&0o777, 0); err != nil {
		return err
	}
	return unix.Fchownat(dst, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
}

// copyMeta gives to the owner, mode, extended attributes and times of from. The
// owner comes first: it takes set-id bits and file capabilities away.
func copyMeta(from, to int) error {
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	if err := unix.Fchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(to, st.Mode&0o7777); err != nil {
		return err
	}
	if err := copyXattrs(from, to); err != nil {
		return err
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	return unix.UtimesNanoAt(unix.AT_FDCWD, selfFd(to), times, 0)
}

// copyXattrs copies user attributes, ACLs and file capabilities; never those of
// overlayfs or of security modules.
func copyXattrs(from, to int) error {
	list := make([]byte, 64<<10)
	n, err := unix.Flistxattr(from, list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "system.posix_acl_") && name != "security.capability" ||
			strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		value := make([]byte, 64<<10)
		k, err := unix.Fgetxattr(from, name, value)
		if err == nil {
			err = unix.Fsetxattr(to, name, value[:k], 0)
		}
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.ENODATA) {
			return fmt.Errorf("attribute %q: %w", name, err)
		}
	}
	return nil
}
