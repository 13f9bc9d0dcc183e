package program

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

// mask is a path to hide or to make read-only.
type mask struct {
	path string
	base string // "proc" or "sys" with rel below it, or "" with a target
	rel  string
	dir  bool
	fd   int
}

// makeMasks finds the paths to hide and to make read-only. One that is not there
// is skipped; a symlink is an error. What hides them is the host's own /dev/null
// and an empty directory, never anything of the container (CVE-2025-31133).
func (b *container) makeMasks() error {
	masked, err := b.findMasks(b.Spec.Linux.MaskedPaths)
	if err != nil {
		return fmt.Errorf("masked path %w", err)
	}
	readonly, err := b.findMasks(b.Spec.Linux.ReadonlyPaths)
	if err != nil {
		return fmt.Errorf("read-only path %w", err)
	}
	null, empty := -1, -1
	for _, m := range masked {
		if m.dir && empty < 0 {
			empty, err = emptyDir()
		} else if !m.dir && null < 0 {
			null, err = hostNull()
		}
		if err != nil {
			return fmt.Errorf("masked path %q: %w", m.path, err)
		}
	}
	b.a.owned = append(b.a.owned, null, empty)
	b.mounts = append(b.mounts, func() {
		b.hidePaths(masked, null, empty)
		b.readonlyPaths(readonly)
	})
	return nil
}

func (b *container) findMasks(paths []string) ([]mask, error) {
	var list []mask
	for _, p := range paths {
		m, found, err := b.findMask(path.Clean(p))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", p, err)
		}
		if found {
			list = append(list, m)
		}
	}
	return list, nil
}

func (b *container) findMask(p string) (mask, bool, error) {
	m := mask{path: p, fd: -1}
	for _, base := range []string{"proc", "sys"} {
		rel, in := strings.CutPrefix(p, "/"+base+"/")
		if !in || !b.mountsKernel(base) {
			continue
		}
		m.base, m.rel = base, rel
		info, err := os.Lstat(p) // the same kernel: the container's has what ours has
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return m, false, nil
		case err != nil:
			return m, false, err
		case info.Mode()&fs.ModeSymlink != 0:
			return m, false, linux.ErrSymlink
		}
		m.dir = info.IsDir()
		return m, true, nil
	}
	s, err := b.tree.Find(p, linux.Want{Any: true, Strict: true})
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return m, false, nil
	case err != nil:
		return m, false, err
	case s.Fd < 0:
		return m, false, fmt.Errorf("%w: in %s", ErrInvalid, s.Kernel)
	}
	m.fd = b.a.own(s.Fd)
	m.dir, err = linux.IsDir(s.Fd)
	return m, true, err
}

// mountsKernel tells whether the spec mounts /proc or /sys by itself.
func (b *container) mountsKernel(base string) bool {
	for _, m := range b.Spec.Mounts {
		if path.Clean(m.Destination) == "/"+base && (m.Type == "proc" || m.Type == "sysfs") {
			return true
		}
	}
	return false
}

func (b *container) maskTarget(m mask) any {
	b.a.about(m.path)
	if m.fd >= 0 {
		return fd(m.fd)
	}
	return b.a.openIn("open path to cover", b.targets[m.base], m.rel)
}

// hidePaths attaches null and empty over the paths: the mounts themselves over
// the first, copies over the others. A copy can be made once the mount is the
// child's own, on every kernel.
func (b *container) hidePaths(masked []mask, null, empty int) {
	used := map[int]bool{}
	for _, m := range masked {
		src := null
		if m.dir {
			src = empty
		}
		target := b.maskTarget(m)
		var mount any = fd(src)
		if used[src] {
			mount = b.a.cloneMount("clone mask", fd(src), 0)
		}
		used[src] = true
		b.a.attach("mask path", mount, target)
	}
}

func (b *container) readonlyPaths(paths []mask) {
	for _, m := range paths {
		target := b.maskTarget(m)
		c := b.a.cloneMount("clone path to make read-only", target, unix.AT_RECURSIVE)
		b.a.call("make path read-only", unix.SYS_MOUNT_SETATTR, c, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE,
			b.a.attr(unix.MOUNT_ATTR_RDONLY, 0, 0), 32)
		b.a.attach("make path read-only", c, target)
	}
}

// hostNull clones the host's /dev/null, checked to be that.
func hostNull() (int, error) {
	f, err := linux.OpenPath("/dev/null")
	if err != nil {
		return -1, err
	}
	defer linux.CloseAll(f)
	var st unix.Stat_t
	if err := unix.Fstat(f, &st); err != nil {
		return -1, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3) {
		return -1, fmt.Errorf("%w: the host's /dev/null is something else", ErrInvalid)
	}
	m, err := linux.CloneTree(f, false)
	if err != nil {
		return -1, err
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC, Propagation: unix.MS_PRIVATE}
	if err := linux.SetAttr(m, false, attr); err != nil {
		linux.CloseAll(m)
		return -1, err
	}
	return m, nil
}

// emptyDir is a directory with nothing in it, read-only.
func emptyDir() (int, error) {
	return linux.NewFS("tmpfs", noDevices|unix.MOUNT_ATTR_RDONLY, linux.Option{Key: "nr_inodes", Value: "1"})
}
