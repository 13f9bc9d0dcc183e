package layer

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxOpen is how many directories stay open while a layer is unpacked. Most
// tars come sorted, and a few would do; the others go round and round.
const maxOpen = 128

// kept is an open directory.
type kept struct {
	fd int
	// plain: what is made in it belongs to root and has the mode asked for. Not
	// so below a set-group-ID bit or a default ACL.
	plain bool
}

// clean makes a name in a tar into a path below the root: "" for the root
// itself. As in every runtime ".." ends at the root; it leaves nothing.
func clean(name string) (string, error) {
	if len(name) > maxName {
		return "", fmt.Errorf("name of %d bytes: %w", len(name), ErrLimit)
	}
	if strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("name with a NUL: %w", ErrInvalid)
	}
	return path.Clean("/" + name)[1:], nil
}

// split returns the parent directory, "" for the root, and the last part.
func split(p string) (dir, base string) {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i], p[i+1:]
	}
	return "", p
}

// dir returns the descriptor of a directory, which the unpacker owns. Links on
// the way are resolved by the kernel as if the tree were the root: the real
// path cannot be outside, whatever the lexical one looks like.
func (u *unpacker) dir(p string) (int, error) {
	if p == "" {
		return u.root, nil
	}
	if k, ok := u.open[p]; ok {
		return k.fd, nil
	}
	fd, err := unix.Openat2(u.root, p, &unix.OpenHow{
		Flags:   unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return -1, err
	}
	u.keep(p, fd)
	return fd, nil
}

func (u *unpacker) keep(p string, fd int) {
	if len(u.open) >= maxOpen {
		u.forget()
	}
	u.open[p] = kept{fd: fd, plain: u.isPlain(fd)}
}

// isPlain looks at a directory whose attributes are set.
func (u *unpacker) isPlain(fd int) bool {
	var st unix.Stat_t
	if !u.own || unix.Fstat(fd, &st) != nil || st.Mode&unix.S_ISGID != 0 {
		return false
	}
	_, err := unix.Fgetxattr(fd, "system.posix_acl_default", nil)
	return errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP)
}

// forget closes the kept directories: one of the paths may now mean another.
func (u *unpacker) forget() {
	for _, k := range u.open {
		_ = unix.Close(k.fd)
	}
	clear(u.open)
}

func (u *unpacker) close() {
	u.forget()
	_ = unix.Close(u.root)
}

// parent is dir, and makes what is missing.
func (u *unpacker) parent(p string) (int, error) {
	fd, err := u.dir(p)
	if err == nil || !gone(err) {
		return fd, err
	}
	for i := 0; i <= len(p); i++ {
		if i < len(p) && p[i] != '/' {
			continue
		}
		if err := u.imply(p[:i]); err != nil {
			return -1, fmt.Errorf("directory %q: %w", shorten(p[:i]), err)
		}
	}
	return u.dir(p)
}

// imply makes one directory that an entry needs, unless there is one. A
// whiteout in its place becomes an opaque directory.
func (u *unpacker) imply(p string) error {
	if _, err := u.dir(p); err == nil || !gone(err) {
		return err
	}
	up, base := split(p)
	dir, err := u.dir(up)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	err = unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	hidden := err == nil && isWhiteout(&st)
	if err == nil && !hidden {
		return fmt.Errorf("is not a directory: %w", ErrInvalid)
	}
	if hidden {
		err = unix.Unlinkat(dir, base, 0)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	fd, err := u.mkdir(dir, base)
	if err != nil {
		return err
	}
	u.keep(p, fd)
	if u.entries++; u.entries > u.limits.Entries {
		return fmt.Errorf("more than %d entries: %w", u.limits.Entries, ErrLimit)
	}
	u.implied[p] = struct{}{}
	if err := unix.Fchmod(fd, 0o755); err != nil {
		return err
	}
	if hidden {
		return setOpaque(fd)
	}
	return nil
}

// mkdir makes a directory that is not there and opens it. Owner and mode are
// still to be set.
func (u *unpacker) mkdir(dir int, base string) (int, error) {
	if err := unix.Mkdirat(dir, base, 0o700); err != nil {
		return -1, nameError(err)
	}
	u.info.Inodes++
	u.info.Bytes += 4096
	fd, err := unix.Openat(dir, base, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	// A parent with the set-group-ID bit would lend its group.
	if err := unix.Fchown(fd, 0, 0); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// nameError marks what only a hostile or broken tar can cause.
func nameError(err error) error {
	if errors.Is(err, unix.ENAMETOOLONG) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return err
}
