package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// file writes a regular file. Nearly all take four calls: open, write, set the
// time, close; what is in the way, owners, and modes that the open cannot give
// take more.
func (u *unpacker) file(h *tar.Header, body io.Reader, p string, dir int) error {
	up, base := split(p)
	ready := u.ready(h, up)
	mode := uint32(0o600)
	if ready {
		mode = uint32(h.Mode & 0o777)
	}
	fd, err := create(dir, base, mode)
	if errors.Is(err, unix.EEXIST) {
		if dir, err = u.clear(p, dir, base); err != nil {
			return err
		}
		fd, err = create(dir, base, mode)
	}
	if err != nil {
		return nameError(err)
	}
	u.info.Inodes++
	u.info.Bytes += (uint64(h.Size) + 4095) &^ 4095
	err = u.copy(fd, body)
	switch {
	case err != nil:
	case ready:
		err = setXattrs(fd, h.PAXRecords)
	default:
		err = attributes(fd, h)
	}
	if err == nil {
		err = setTime(fd, "", h.ModTime, unix.AT_EMPTY_PATH)
	}
	if e := unix.Close(fd); err == nil {
		err = e
	}
	return err
}

func create(dir int, base string, mode uint32) (int, error) {
	return unix.Openat(dir, base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
}

// ready says that a file made in directory up with the mode of h is as h wants
// it: root's, no special bits, nothing that the umask takes.
func (u *unpacker) ready(h *tar.Header, up string) bool {
	return h.Uid == 0 && h.Gid == 0 && h.Mode&0o7000 == 0 && uint32(h.Mode)&0o777&u.umask == 0 && u.open[up].plain
}

// umask is that of this process, or 0777 where the kernel does not tell.
// umask(2) could only read it by changing it, for everybody.
func umask() uint32 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0o777
	}
	_, line, _ := strings.Cut(string(status), "\nUmask:")
	line, _, _ = strings.Cut(line, "\n")
	v, err := strconv.ParseUint(strings.TrimSpace(line), 8, 32)
	if err != nil {
		return 0o777
	}
	return uint32(v)
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
