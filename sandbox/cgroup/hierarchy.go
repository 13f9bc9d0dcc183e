package cgroup

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// hierarchy is one mounted cgroup file system.
type hierarchy struct {
	name        string   // for messages: "cgroup2", "memory", "cpu,cpuacct", "name=systemd"
	unified     bool     // cgroup2
	controllers []string // v1 only
	root        *os.File // O_PATH directory of the mount point
}

// openHierarchy opens the mount point and makes sure that it shows this very
// file system: a later mount on top of it or above it would be a stranger.
func openHierarchy(m mount) (*hierarchy, error) {
	fd, err := unix.Open(m.point, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open cgroup mount %q: %w", m.point, err)
	}
	root := os.NewFile(uintptr(fd), m.point)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("stat cgroup mount %q: %w", m.point, err)
	}
	if st.Dev != m.dev {
		_ = root.Close()
		return nil, fmt.Errorf("cgroup mount %q is covered by another mount: %w", m.point, ErrUnsupported)
	}
	name := "cgroup2"
	if !m.unified {
		name = strings.Join(m.controllers, ",")
	}
	return &hierarchy{name: name, unified: m.unified, controllers: m.controllers, root: root}, nil
}

func (h *hierarchy) has(controller string) bool { return slices.Contains(h.controllers, controller) }

// dir is a directory of a hierarchy, held open: its identity. When the group is
// removed and another made at the same path, this one answers ENOENT or ENODEV.
type dir struct{ *os.File }

func (d dir) fd() int { return int(d.Fd()) }

const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS

// openDir opens a directory below from; "." is from itself. No symlink is
// followed and no other file system entered.
func openDir(from dir, path string) (dir, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: beneath}
	for {
		fd, err := unix.Openat2(from.fd(), path, &how)
		switch {
		case err == nil:
			return dir{os.NewFile(uintptr(fd), path)}, nil
		case !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN):
			return dir{}, err
		}
	}
}

// openFile opens one control file. The name must come from us or be checked.
func (d dir) openFile(name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(d.fd(), name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// maxRead bounds a control file; cgroup.procs of a fork bomb is the largest.
const maxRead = 16 << 20

// read returns the content of one control file.
func (d dir) read(name string) (string, error) {
	fd, err := d.openFile(name, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var start [4096]byte // memory.stat fits; only cgroup.procs is larger
	text := start[:0]
	for len(text) < maxRead {
		if len(text) == cap(text) {
			text = slices.Grow(text, len(text))
		}
		n, err := unix.Read(fd, text[len(text):cap(text)])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return "", err
		case n == 0:
			return string(text), nil
		default:
			text = text[:len(text)+n]
		}
	}
	return "", unix.EFBIG
}

// write sets one control file in one write, as the kernel wants it.
func (d dir) write(name, value string) error {
	fd, err := d.openFile(name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		// A pending signal ends some writes early (memory limits on v1); Go's
		// runtime sends itself signals all the time.
		_, err = unix.Write(fd, []byte(value))
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// gone tells that a directory was removed while we looked.
func gone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) }
