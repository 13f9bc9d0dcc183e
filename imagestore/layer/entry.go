package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"
)

// entry writes one member of the tar.
func (u *unpacker) entry(h *tar.Header, body io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	p, err := clean(h.Name)
	if err != nil {
		return err
	}
	if p == "" {
		return u.rootEntry(h)
	}
	if aufs(p) {
		return nil
	}
	up, base := split(p)
	dir, err := u.parent(up)
	if err != nil {
		return nameError(err)
	}
	if strings.HasPrefix(base, whPrefix) {
		return u.whiteout(up, dir, base)
	}
	if err := checkOwner(h); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.directory(h, p, dir, base)
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return u.file(h, body, p, dir)
	}
	if dir, err = u.clear(p, dir, base); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeLink:
		return u.hardlink(h, dir, base)
	case tar.TypeSymlink:
		return u.symlink(h, dir, base)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return u.node(h, dir, base)
	}
	return fmt.Errorf("type %q: %w", h.Typeflag, ErrInvalid)
}

// rootEntry sets the attributes of the root, which can only be a directory
// (CVE-2021-29136: a link in its place led out of the tree).
func (u *unpacker) rootEntry(h *tar.Header) error {
	if h.Typeflag != tar.TypeDir {
		return fmt.Errorf("the root is not a directory: %w", ErrInvalid)
	}
	if err := checkOwner(h); err != nil {
		return err
	}
	u.info.RootExplicit = true
	u.times = append(u.times, dirTime{"", h.ModTime})
	return attributes(u.root, h)
}

func (u *unpacker) directory(h *tar.Header, p string, dir int, base string) error {
	var st unix.Stat_t
	err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nameError(err)
	}
	fd, known := -1, err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case known:
		fd, err = unix.Openat(dir, base, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	case err == nil:
		// It took the place of the lower layers' directory and goes on hiding it.
		if dir, err = u.clear(p, dir, base); err != nil {
			return err
		}
		if fd, err = u.mkdir(dir, base); err == nil {
			err = setOpaque(fd)
		}
	default:
		fd, err = u.mkdir(dir, base)
	}
	if err == nil {
		err = attributes(fd, h)
	}
	if err != nil {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return err
	}
	if known {
		u.forget() // it may be kept under several names, as what it was before
	}
	u.keep(p, fd)
	delete(u.implied, p)
	u.times = append(u.times, dirTime{p, h.ModTime})
	return nil
}

// clear removes what an entry replaces, and returns the directory that it
// lies in, which may have been closed on the way.
func (u *unpacker) clear(p string, dir int, base string) (int, error) {
	var st unix.Stat_t
	err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return dir, nil
	}
	if err != nil {
		return -1, nameError(err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		err = removeAt(dir, base)
	default:
		err = unix.Unlinkat(dir, base, 0)
	}
	if err != nil {
		return -1, err
	}
	if t := st.Mode & unix.S_IFMT; t != unix.S_IFDIR && t != unix.S_IFLNK {
		return dir, nil
	}
	// Paths through it mean something else from now on.
	u.forget()
	up, _ := split(p)
	return u.dir(up)
}

func (u *unpacker) hardlink(h *tar.Header, dir int, base string) error {
	target, err := clean(h.Linkname)
	if err != nil {
		return err
	}
	up, last := split(target)
	from, err := u.dirNoKeep(up)
	if err == nil {
		defer unix.Close(from)
		var st unix.Stat_t
		err = unix.Fstatat(from, last, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && (st.Mode&unix.S_IFMT == unix.S_IFDIR || isWhiteout(&st)) {
			return fmt.Errorf("hard link to %q, which is not a file: %w", shorten(h.Linkname), ErrInvalid)
		}
	}
	if err == nil {
		err = unix.Linkat(from, last, dir, base, 0)
	}
	if err != nil {
		if gone(err) {
			return fmt.Errorf("hard link to %q, which is not in this layer: %w", shorten(h.Linkname), ErrInvalid)
		}
		return nameError(err)
	}
	return nil
}

// dirNoKeep opens a directory for the caller, so that the one he already has
// is not closed by it.
func (u *unpacker) dirNoKeep(p string) (int, error) {
	if p == "" {
		p = "."
	}
	return unix.Openat2(u.root, p, &unix.OpenHow{
		Flags:   unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

func (u *unpacker) symlink(h *tar.Header, dir int, base string) error {
	if len(h.Linkname) >= maxName {
		return fmt.Errorf("link target of %d bytes: %w", len(h.Linkname), ErrLimit)
	}
	if h.Linkname == "" {
		return fmt.Errorf("link without a target: %w", ErrInvalid)
	}
	if err := unix.Symlinkat(h.Linkname, dir, base); err != nil {
		return nameError(err)
	}
	u.info.Inodes++
	if err := unix.Fchownat(dir, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	return setTime(dir, base, h.ModTime, unix.AT_SYMLINK_NOFOLLOW)
}

// node makes a device or FIFO. The kernel keeps 12 bits of a major and 20 of a
// minor number and drops the rest: unchecked, 2^32+1 would be the device 1.
func (u *unpacker) node(h *tar.Header, dir int, base string) error {
	mode, dev := uint32(unix.S_IFIFO), 0
	if h.Typeflag != tar.TypeFifo {
		if h.Devmajor < 0 || h.Devmajor >= 1<<12 || h.Devminor < 0 || h.Devminor >= 1<<20 {
			return fmt.Errorf("device %d:%d out of range: %w", h.Devmajor, h.Devminor, ErrInvalid)
		}
		dev = int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))
		mode = unix.S_IFCHR
		if h.Typeflag == tar.TypeBlock {
			mode = unix.S_IFBLK
		}
	}
	if err := unix.Mknodat(dir, base, mode|0o600, dev); err != nil {
		return nameError(err)
	}
	u.info.Inodes++
	if err := unix.Fchownat(dir, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	// It is the node made above: nobody else writes here.
	if err := unix.Fchmodat(dir, base, uint32(h.Mode&0o7777), 0); err != nil {
		return err
	}
	return setTime(dir, base, h.ModTime, unix.AT_SYMLINK_NOFOLLOW)
}
