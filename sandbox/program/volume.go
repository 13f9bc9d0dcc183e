package program

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

// volumeOf reads a bind mount of a spec.
func volumeOf(m specs.Mount, o mountOptions) *Volume {
	return &Volume{Destination: m.Destination, Source: m.Source, Propagation: o.propagation, options: o}
}

// volume has a bind or image mount attached. What is attached is a clone with
// attributes of its own, never the source itself.
func (b *container) volume(ctx context.Context, v *Volume) error {
	dest := path.Clean(v.Destination)
	if !path.IsAbs(dest) || dest == "/" || dest == "/proc" {
		return fmt.Errorf("%w: destination", ErrInvalid)
	}
	if p, err := propagation(v.Propagation); err == nil && p == unix.MS_SHARED && b.users != nil {
		// The copy that the container gets is no peer of the host's, only its slave.
		return fmt.Errorf("%w: no mount can reach the host out of a user namespace (propagation %s)", ErrInvalid, v.Propagation)
	}
	m, err := linux.Bounded(ctx, v.open)
	if err != nil {
		return err
	}
	b.a.own(m)
	dir, err := linux.IsDir(m)
	if err != nil {
		return err
	}
	t, err := b.find(dest, !dir)
	if err != nil {
		return err
	}
	if err := late(t.spot, dest); err != nil {
		return err
	}
	b.mounts = append(b.mounts, func() { b.a.attach("mount", fd(m), b.emit(t)) })
	return b.mounted(t, m)
}

// open gives the detached mount of a volume.
func (v *Volume) open() (int, error) {
	prop, err := propagation(v.Propagation)
	if err != nil {
		return -1, err
	}
	if v.Image != nil {
		return v.openImage()
	}
	m, err := v.openSource(prop)
	if err != nil {
		return -1, err
	}
	if prop == 0 {
		prop = unix.MS_PRIVATE
	}
	// First its place among peers, then what may be done in it: read-only must
	// not reach the source's other mounts, and does not, attributes being a clone's own.
	err = linux.SetAttr(m, true, unix.MountAttr{Propagation: prop})
	if err == nil {
		err = linux.SetAttr(m, false, v.attr())
	}
	if err == nil {
		err = linux.SetAttr(m, true, unix.MountAttr{Attr_set: v.below()})
	}
	if err == nil && v.Mapped {
		err = linux.MapIDs(m, true, v.Userns)
	}
	if err != nil {
		linux.CloseAll(m)
		return -1, &SourceError{v.Source, err}
	}
	return m, nil
}

// below are the attributes of everything that is mounted below.
func (v *Volume) below() uint64 {
	set := v.options.recursiveSet
	if v.RecursiveReadonly {
		set |= unix.MOUNT_ATTR_RDONLY
	}
	return set
}

// attr are the attributes of the mount itself.
func (v *Volume) attr() unix.MountAttr {
	return unix.MountAttr{Attr_set: v.attrs() | v.options.set, Attr_clr: v.options.clear & unix.MOUNT_ATTR__ATIME}
}

func (v *Volume) attrs() uint64 {
	var set uint64
	for _, a := range []struct {
		on   bool
		attr uint64
	}{
		{v.Readonly, unix.MOUNT_ATTR_RDONLY},
		{v.NoSuid, unix.MOUNT_ATTR_NOSUID},
		{v.NoDev, unix.MOUNT_ATTR_NODEV},
		{v.NoExec, unix.MOUNT_ATTR_NOEXEC},
	} {
		if a.on {
			set |= a.attr
		}
	}
	return set
}

// openSource opens the source once, without reading it, and clones what it
// found: it is not looked up again (CVE-2021-25741).
func (v *Volume) openSource(prop uint64) (int, error) {
	if !path.IsAbs(v.Source) {
		return -1, &SourceError{v.Source, fmt.Errorf("%w: not an absolute path", ErrInvalid)}
	}
	fd, err := linux.OpenPath(v.Source)
	if errors.Is(err, fs.ErrNotExist) && v.MkdirMissing {
		if err = mkdirAll(v.Source); err == nil {
			fd, err = linux.OpenPath(v.Source)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrSourceMissing
	}
	if err != nil {
		return -1, &SourceError{v.Source, err}
	}
	defer linux.CloseAll(fd)
	if prop == unix.MS_SHARED || prop == unix.MS_SLAVE {
		if err := propagates(fd, prop); err != nil {
			return -1, &SourceError{v.Source, err}
		}
	}
	m, err := linux.CloneTree(fd, true)
	if err != nil {
		return -1, &SourceError{v.Source, err}
	}
	return m, nil
}

// mkdirAll makes a directory of the host with mode 0755 whatever the umask is.
func mkdirAll(p string) error {
	if err := os.MkdirAll(p, 0o755); err != nil {
		return err
	}
	return os.Chmod(p, 0o755)
}

// propagates checks that mounts can come from the source (slave) or go there (shared).
func propagates(fd int, prop uint64) error {
	shared, master, err := linux.Propagation(fd)
	if err != nil {
		return err
	}
	if shared || (master && prop == unix.MS_SLAVE) {
		return nil
	}
	return ErrPropagation
}

// openImage gives a read-only view of an image, or of a part of it.
func (v *Volume) openImage() (int, error) {
	var root int
	var err error
	if v.Mapped {
		root, err = linux.OverlayMapped(v.Image.Lower, "", "", v.Userns)
	} else {
		root, err = linux.Overlay(v.Image.Lower, "", "")
	}
	if err != nil {
		return -1, fmt.Errorf("image: %w", err)
	}
	attrs := v.attr()
	attrs.Attr_set |= v.below() | unix.MOUNT_ATTR_RDONLY
	if err := linux.SetAttr(root, false, attrs); err != nil || v.ImagePath == "" {
		if err != nil {
			linux.CloseAll(root)
			return -1, err
		}
		return root, nil
	}
	defer linux.CloseAll(root)
	s, err := linux.NewTree(root).Find(v.ImagePath, linux.Want{Any: true})
	if err != nil {
		return -1, fmt.Errorf("image: %w", err)
	}
	defer linux.CloseAll(s.Fd)
	return linux.ClonePart(root, s.Fd)
}
