package layer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Inherit gives directories of the tree dir that its tar did not mention
// (Info.Implied) the owner, mode, time and attributes of the directory that
// they cover in the layers below, top one first. Without it a layer that holds
// only "tmp/x" would make /tmp 0755 in the image.
func Inherit(ctx context.Context, dir string, implied, lower []string) error {
	root, err := openTree(dir)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	roots := make([]int, 0, len(lower))
	defer func() {
		for _, fd := range roots {
			_ = unix.Close(fd)
		}
	}()
	for _, l := range lower {
		fd, err := openTree(l)
		if err != nil {
			return err
		}
		roots = append(roots, fd)
	}
	for _, p := range implied {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := inherit(root, p, roots); err != nil {
			return fmt.Errorf("directory %q: %w", shorten(p), err)
		}
	}
	return nil
}

func inherit(root int, p string, lower []int) error {
	to, err := unix.Openat2(root, p, &unix.OpenHow{
		Flags:   unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if gone(err) {
		return nil // replaced since
	}
	if err != nil {
		return err
	}
	defer unix.Close(to)
	if isOpaque(to) {
		return nil // covers nothing
	}
	for _, l := range lower {
		from, more, err := visible(l, p)
		if err != nil {
			return err
		}
		if from >= 0 {
			defer unix.Close(from)
			return copyAttributes(from, to)
		}
		if !more {
			return nil
		}
	}
	return nil
}

// visible opens directory p of one layer, or -1. more says whether the layers
// further down can be seen through this one at p.
func visible(root int, p string) (fd int, more bool, err error) {
	at, hidden := root, false
	defer func() {
		if at != root && at != fd {
			_ = unix.Close(at)
		}
	}()
	for part := range strings.SplitSeq(p, "/") {
		next, err := unix.Openat(at, part, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			return -1, !hidden, nil
		}
		if gone(err) {
			return -1, false, nil // a file, a link or a whiteout
		}
		if err != nil {
			return -1, false, err
		}
		if at != root {
			_ = unix.Close(at)
		}
		at = next
		hidden = hidden || isOpaque(at)
	}
	return at, false, nil
}

func copyAttributes(from, to int) error {
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
	return unix.UtimesNanoAt(to, "", []unix.Timespec{st.Atim, st.Mtim}, unix.AT_EMPTY_PATH)
}

func copyXattrs(from, to int) error {
	list := make([]byte, maxXattrs)
	n, err := unix.Flistxattr(from, list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	value := make([]byte, maxXattrs)
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if name == "" || !allowedXattr(name, "") {
			continue
		}
		m, err := unix.Fgetxattr(from, name, value)
		if err != nil {
			return err
		}
		if err := unix.Fsetxattr(to, name, value[:m], 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return err
		}
	}
	return nil
}

// CopyRoot makes the directory to, which must be there, look like the
// directory from: owner, mode, time, attributes. For the upper directory of a
// container, which covers the root of its image.
func CopyRoot(from, to string) error {
	f, err := openTree(from)
	if err != nil {
		return err
	}
	defer unix.Close(f)
	t, err := openTree(to)
	if err != nil {
		return err
	}
	defer unix.Close(t)
	return copyAttributes(f, t)
}

func openTree(dir string) (int, error) {
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %q: %w", dir, err)
	}
	return fd, nil
}
