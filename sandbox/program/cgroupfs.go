package program

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

// hierarchy is a v1 hierarchy of this host: "memory", "cpu,cpuacct", "name=systemd".
type hierarchy string

// dir is the name of its directory.
func (h hierarchy) dir() string { return strings.TrimPrefix(string(h), "name=") }

// options select it in fsopen("cgroup").
func (h hierarchy) options() []linux.Option {
	if name, ok := strings.CutPrefix(string(h), "name="); ok {
		return []linux.Option{{Key: "none"}, {Key: "name", Value: name}}
	}
	var o []linux.Option
	for c := range strings.SplitSeq(string(h), ",") {
		o = append(o, linux.Option{Key: c})
	}
	return o
}

// hierarchies reads the v1 hierarchies, and whether there is a cgroup2 tree.
func hierarchies() (v1 []hierarchy, v2 bool, err error) {
	f, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		id, rest, _ := strings.Cut(s.Text(), ":")
		names, _, ok := strings.Cut(rest, ":")
		if ok && id == "0" {
			v2 = true
		} else if ok && names != "" {
			v1 = append(v1, hierarchy(names))
		}
	}
	return v1, v2, s.Err()
}

// mountCgroup mounts what the container sees of its cgroups: one cgroup2, or on a
// v1 host a directory with one mount for each hierarchy. The child makes them,
// in its cgroup namespace, so their roots are its own groups. A root hierarchy
// of v1 never comes in: release_agent lies there (CVE-2022-0492).
func (b *container) mountCgroup(dest string, o mountOptions) error {
	v1, v2, err := hierarchies()
	if err != nil {
		return err
	}
	t, err := b.find(dest, false)
	if err != nil {
		return err
	}
	_, joined := b.Join[specs.CgroupNamespace]
	hosts := !b.ns.cgroup && !joined
	switch {
	case len(v1) > 0 && hosts:
		return fmt.Errorf("%w: cgroups of a v1 host without a cgroup namespace", ErrInvalid)
	case len(v1) > 0:
		return b.mountHierarchies(dest, t, o, v1, v2)
	case hosts:
		return b.cloneCgroup2(t, o)
	}
	b.mounts = append(b.mounts, func() {
		b.a.about(dest)
		m := b.a.kernelFS("cgroup2", int(o.set|noDevices))
		b.a.attach("mount", m, b.emit(t))
	})
	return nil
}

// cloneCgroup2 shows the host's own tree. A new mount of it, made in the host's
// cgroup namespace, would take nsdelegate and memory_recursiveprot away from
// the whole host: they are the tree's, and the last mount decides.
func (b *container) cloneCgroup2(t target, o mountOptions) error {
	host, err := linux.OpenPath("/sys/fs/cgroup")
	if err != nil {
		return err
	}
	defer linux.CloseAll(host)
	var st unix.Statfs_t
	if err := unix.Fstatfs(host, &st); err != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		return fmt.Errorf("%w: the host has no cgroup2 at /sys/fs/cgroup", ErrInvalid)
	}
	m, err := linux.CloneTree(host, false)
	if err != nil {
		return err
	}
	b.a.own(m)
	attr := unix.MountAttr{Attr_set: o.set&unix.MOUNT_ATTR_RDONLY | noDevices, Propagation: unix.MS_PRIVATE}
	if o.set&unix.MOUNT_ATTR_RDONLY == 0 {
		attr.Attr_clr = unix.MOUNT_ATTR_RDONLY
	}
	if err := linux.SetAttr(m, false, attr); err != nil {
		return err
	}
	b.mounts = append(b.mounts, func() {
		b.a.about(t.path)
		b.a.attach("mount", fd(m), b.emit(t))
	})
	return nil
}

func (b *container) mountHierarchies(dest string, t target, o mountOptions, v1 []hierarchy, v2 bool) error {
	base, err := linux.NewFS("tmpfs", noDevices, linux.Option{Key: "mode", Value: "755"}, linux.Option{Key: "size", Value: "1m"})
	if err != nil {
		return err
	}
	b.a.own(base)
	b.mounts = append(b.mounts, func() { b.a.attach("mount", fd(base), b.emit(t)) })
	attrs := int(o.set | noDevices)
	for _, h := range v1 {
		dir, err := b.cgroupDir(base, h.dir())
		if err != nil {
			return err
		}
		if strings.Contains(string(h), ",") {
			for c := range strings.SplitSeq(string(h), ",") {
				if err := unix.Symlinkat(h.dir(), base, c); err != nil {
					return err
				}
			}
		}
		b.cgroupMount(dest+"/"+h.dir(), dir, "cgroup", attrs, h.options())
	}
	if v2 {
		dir, err := b.cgroupDir(base, "unified")
		if err != nil {
			return err
		}
		b.cgroupMount(dest+"/unified", dir, "cgroup2", attrs, nil)
	}
	return linux.SetAttr(base, false, unix.MountAttr{Attr_set: o.set & unix.MOUNT_ATTR_RDONLY})
}

func (b *container) cgroupMount(dest string, dir int, fstype string, attrs int, options []linux.Option) {
	b.mounts = append(b.mounts, func() {
		b.a.about(dest)
		m := b.a.kernelFS(fstype, attrs, options...)
		b.a.attach("mount", m, fd(dir))
	})
}

// cgroupDir makes a directory in our tmpfs to mount on.
func (b *container) cgroupDir(base int, name string) (int, error) {
	s, err := linux.NewTree(base).Find(name, linux.Want{Make: true, Strict: true})
	if err != nil {
		return -1, err
	}
	return b.a.own(s.Fd), nil
}
