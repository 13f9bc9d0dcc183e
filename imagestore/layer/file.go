package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"golang.org/x/sys/unix"
)

func (u *unpacker) file(h *tar.Header, body io.Reader, dir int, base string) error {
	fd, err := unix.Openat(dir, base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nameError(err)
	}
	u.info.Inodes++
	u.info.Bytes += (uint64(h.Size) + 4095) &^ 4095
	err = u.copy(fd, body)
	if err == nil {
		err = attributes(fd, h)
	}
	if e := unix.Close(fd); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return setTime(dir, base, h.ModTime, unix.AT_SYMLINK_NOFOLLOW)
}

func (u *unpacker) copy(fd int, body io.Reader) error {
	if u.buf == nil {
		u.buf = make([]byte, 128<<10)
	}
	for {
		n, err := body.Read(u.buf)
		for rest := u.buf[:n]; len(rest) > 0; {
			m, err := unix.Write(fd, rest)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return fmt.Errorf("write: %w", err)
			}
			rest = rest[m:]
		}
		if u.unseen += int64(n); u.unseen >= freeEvery {
			u.unseen = 0
			if err := u.checkFree(); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return tarError(err)
		}
	}
}

// checkFree stops before the disk is full: other things live there too.
func (u *unpacker) checkFree() error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(u.root, &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize; free < u.limits.MinFree {
		return fmt.Errorf("%d bytes left on the disk, %d must stay free: %w", free, u.limits.MinFree, unix.ENOSPC)
	}
	return nil
}

// attributes sets owner, mode and extended attributes, in this order: a change
// of owner drops set-ID bits and file capabilities.
func attributes(fd int, h *tar.Header) error {
	if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
		return fmt.Errorf("set owner: %w", err)
	}
	if err := unix.Fchmod(fd, uint32(h.Mode&0o7777)); err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	return setXattrs(fd, h.PAXRecords)
}

func checkOwner(h *tar.Header) error {
	// -1 means "leave it" to the kernel, and what is over 32 bits is cut off.
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= math.MaxUint32 || int64(h.Gid) >= math.MaxUint32 {
		return fmt.Errorf("owner %d:%d out of range: %w", h.Uid, h.Gid, ErrInvalid)
	}
	return nil
}

const xattrRecord = "SCHILY.xattr."

// setXattrs sets the attributes that an image may carry and drops the others.
// A file system without attributes is fine.
func setXattrs(fd int, records map[string]string) error {
	total := 0
	for key, value := range records {
		name, ok := strings.CutPrefix(key, xattrRecord)
		if !ok || !allowedXattr(name, value) {
			continue
		}
		if total += len(name) + len(value); total > maxXattrs {
			return fmt.Errorf("more than %d bytes of attributes: %w", maxXattrs, ErrLimit)
		}
		err := unix.Fsetxattr(fd, name, []byte(value), 0)
		if err != nil && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("set attribute %q: %w", name, err)
		}
	}
	return nil
}

// allowedXattr: user attributes but overlayfs's own, POSIX ACLs, and file
// capabilities. trusted.overlay.redirect could show host files
// (hardening C11); labels and hashes of security modules are this host's.
func allowedXattr(name, value string) bool {
	switch {
	case strings.ContainsRune(name, 0):
		return false
	case strings.HasPrefix(name, "user."):
		return !strings.HasPrefix(name, "user.overlay.")
	case name == "system.posix_acl_access", name == "system.posix_acl_default":
		return true
	case name == "security.capability":
		return allowedCapability(value)
	}
	return false
}

// allowedCapability accepts version 2, and version 3 for the root of the
// initial user namespace; another root id would give the rights to a host uid.
func allowedCapability(v string) bool {
	if len(v) < 4 {
		return false
	}
	switch v[3] { // the version is the top byte of a little-endian word
	case 2:
		return len(v) == 20
	case 3:
		return len(v) == 24 && v[20:] == "\x00\x00\x00\x00"
	}
	return false
}
