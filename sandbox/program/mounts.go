package program

import (
	"context"
	"fmt"
	"path"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

// makeMounts resolves the mounts of the spec and the volumes, in their order.
func (b *container) makeMounts(ctx context.Context) error {
	used := make([]bool, len(b.Volumes))
	for _, m := range b.Spec.Mounts {
		dest := path.Clean(m.Destination)
		var err error
		if i := b.volumeFor(m, dest, used); i >= 0 {
			used[i] = true
			err = b.listed(ctx, b.Volumes[i], m)
		} else {
			err = b.mount(ctx, m, dest)
		}
		if err != nil {
			return fmt.Errorf("mount %q: %w", dest, err)
		}
	}
	for i := range b.Volumes { // those that the spec does not list
		if used[i] {
			continue
		}
		if err := b.volume(ctx, &b.Volumes[i]); err != nil {
			return fmt.Errorf("mount %q: %w", b.Volumes[i].Destination, err)
		}
	}
	return nil
}

// listed is a volume that a mount of the spec stands for.
func (b *container) listed(ctx context.Context, v Volume, m specs.Mount) error {
	v.options = parseOptions(m.Options)
	userns, mapped, err := b.mappingOf(m)
	if err != nil {
		return err
	}
	if mapped {
		v.Userns, v.Mapped = userns, true
	}
	return b.volume(ctx, &v)
}

// imageType marks an image volume in a spec. What lies there only Volumes tell.
const imageType = "image"

// volumeFor finds the first volume, not used yet, that a mount of the spec stands for; -1 = none.
func (b *container) volumeFor(m specs.Mount, dest string, used []bool) int {
	if !isBind(m) {
		return -1
	}
	for i, v := range b.Volumes {
		if !used[i] && path.Clean(v.Destination) == dest && (v.Image != nil) == (m.Type == imageType) {
			return i
		}
	}
	return -1
}

func isBind(m specs.Mount) bool {
	return m.Type == "bind" || m.Type == imageType || m.Type == "" || m.Type == "none" || parseOptions(m.Options).bind
}

// mount is one mount of the spec that is no volume of the request.
func (b *container) mount(ctx context.Context, m specs.Mount, dest string) error {
	o := parseOptions(m.Options)
	switch {
	case !path.IsAbs(dest) || dest == "/":
		return fmt.Errorf("%w: destination", ErrInvalid)
	case m.Type == imageType:
		return fmt.Errorf("%w: image %q was not passed", ErrInvalid, m.Source)
	case isBind(m):
		v := volumeOf(m, o)
		var err error
		if v.Userns, v.Mapped, err = b.mappingOf(m); err != nil {
			return err
		}
		return b.volume(ctx, v)
	case dest == "/dev": // made already
		return nil
	case dest == "/dev/shm" && b.Shm != "":
		return b.volume(ctx, &Volume{Destination: dest, Source: b.Shm, NoSuid: true, NoDev: true, NoExec: true})
	}
	switch m.Type {
	case "proc":
		return b.mountProc(dest, o)
	case "sysfs":
		return b.mountKernel("sysfs", "sys", dest, o)
	case "mqueue":
		return b.mountKernel("mqueue", "mqueue", dest, o)
	case "devpts":
		return b.mountDevpts(dest, o)
	case "tmpfs":
		return b.mountTmpfs(dest, o)
	case "cgroup", "cgroup2":
		return b.mountCgroup(dest, o)
	}
	return fmt.Errorf("%w: file system type %q", ErrInvalid, m.Type)
}

// target is where a mount goes: a descriptor, or a name in a file system that
// the child itself mounts.
type target struct {
	spot linux.Spot
	path string
}

// find resolves a mount target. /proc, /sys and /dev admit no symlink.
func (b *container) find(dest string, file bool) (target, error) {
	strict := below(dest, "/proc") || below(dest, "/sys") || below(dest, "/dev")
	s, err := b.tree.Find(dest, linux.Want{File: file, Make: true, Strict: strict})
	if err != nil {
		return target{}, fmt.Errorf("target: %w", err)
	}
	if s.Fd >= 0 {
		b.a.own(s.Fd)
	}
	return target{s, dest}, nil
}

// emit gives the argument for move_mount, with the steps it takes.
func (b *container) emit(t target) any {
	b.a.about(t.path)
	if t.spot.Fd >= 0 {
		return fd(t.spot.Fd)
	}
	return b.a.openIn("open mount target", b.targets[t.spot.Kernel], t.spot.Rest)
}

// mounted notes that what is at fd will be seen at t from now on.
func (b *container) mounted(t target, fd int) error {
	if t.spot.Fd < 0 {
		return nil
	}
	return b.tree.Cover(t.spot.Fd, fd)
}

// mountProc mounts the procfs of the container's PID namespace.
func (b *container) mountProc(dest string, o mountOptions) error {
	if dest != "/proc" {
		return fmt.Errorf("%w: procfs elsewhere than at /proc", ErrInvalid)
	}
	if b.ns.init < 0 {
		return b.mountKernel("proc", "proc", dest, o)
	}
	src, err := b.procSource()
	if err != nil {
		return err
	}
	t, err := b.find(dest, false)
	if err != nil {
		return err
	}
	b.mounts = append(b.mounts, func() {
		b.a.about(dest)
		b.targets["proc"] = b.visited
		b.a.attach("mount", b.visited, b.emit(t))
	})
	b.before = func() { b.a.about(dest); b.visited = b.visitProc(src, o.set) }
	return b.tree.Reserve(t.spot.Fd, "proc")
}

// mountKernel mounts a file system that the child must make.
func (b *container) mountKernel(fstype, name, dest string, o mountOptions) error {
	t, err := b.find(dest, false)
	if err != nil {
		return err
	}
	if t.spot.Fd < 0 {
		return fmt.Errorf("%w: %s below %s", ErrInvalid, fstype, t.spot.Kernel)
	}
	b.mounts = append(b.mounts, func() {
		b.a.about(dest)
		m := b.a.kernelFS(fstype, int(o.set), o.data...)
		b.targets[name] = m
		b.a.attach("mount", m, b.emit(t))
	})
	return b.tree.Reserve(t.spot.Fd, name)
}

// mountTmpfs mounts a tmpfs of the container's own.
func (b *container) mountTmpfs(dest string, o mountOptions) error {
	data, err := b.ownTmpfs(o.data)
	if err != nil {
		return err
	}
	m, err := linux.NewFS("tmpfs", int(o.set), data...)
	if err != nil {
		return err
	}
	return b.attachTree(dest, false, b.a.own(m))
}

// ownTmpfs makes the ids among a tmpfs's options those of the host; what is
// given to nobody is root's.
func (b *container) ownTmpfs(options []linux.Option) ([]linux.Option, error) {
	if b.users == nil {
		return options, nil
	}
	uid, gid := "0", "0"
	var out []linux.Option
	for _, o := range options {
		switch o.Key {
		case "uid":
			uid = o.Value
		case "gid":
			gid = o.Value
		default:
			out = append(out, o)
		}
	}
	for _, o := range []struct {
		key, id string
		host    func(uint32) (int, error)
	}{{"uid", uid, b.users.uid}, {"gid", gid, b.users.gid}} {
		n, err := strconv.ParseUint(o.id, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("%w: %s %q", ErrInvalid, o.key, o.id)
		}
		id, err := o.host(uint32(n))
		if err != nil {
			return nil, err
		}
		out = append(out, linux.Option{Key: o.key, Value: strconv.Itoa(id)})
	}
	return out, nil
}

// attachTree has a detached mount of ours attached.
func (b *container) attachTree(dest string, file bool, m int) error {
	t, err := b.find(dest, file)
	if err != nil {
		return err
	}
	b.mounts = append(b.mounts, func() { b.a.attach("mount", fd(m), b.emit(t)) })
	return b.mounted(t, m)
}

// late checks a target inside a file system that only the child mounts.
func late(s linux.Spot, dest string) error {
	switch s.Kernel {
	case "", "sys":
		return nil
	case "proc":
		if allowedInProc(dest) {
			return nil
		}
	}
	return fmt.Errorf("%w: nothing may be mounted there", ErrInvalid)
}

// allowedInProc are the files of /proc that tools replace to show a container
// its own limits. Anything else there could fool a write of ours or of others
// into another file (CVE-2025-52881).
func allowedInProc(dest string) bool {
	switch dest {
	case "/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps", "/proc/uptime",
		"/proc/loadavg", "/proc/slabinfo", "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled":
		return true
	}
	return false
}

// noDevices are the attributes of mounts that hold no programs and no devices.
const noDevices = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
