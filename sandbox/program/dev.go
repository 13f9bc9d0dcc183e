package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

// makeDev makes /dev, a tmpfs of our own, whatever the image has there: nodes,
// links, and places for what is mounted in it. Not when a volume lies there.
func (b *container) makeDev(ctx context.Context) error {
	options := []linux.Option{{Key: "mode", Value: "755"}, {Key: "size", Value: "65536k"}}
	attrs := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC)
	for _, v := range b.Volumes {
		if path.Clean(v.Destination) == "/dev" {
			return nil
		}
	}
	for _, m := range b.Spec.Mounts {
		if path.Clean(m.Destination) != "/dev" {
			continue
		}
		if isBind(m) {
			return nil
		}
		o := parseOptions(m.Options)
		attrs, options = o.set&^unix.MOUNT_ATTR_RDONLY, o.data
	}
	owner, err := b.users.root()
	if err != nil {
		return err
	}
	if options, err = b.ownTmpfs(options); err != nil {
		return err
	}
	dev, err := linux.NewFS("tmpfs", int(attrs), options...)
	if err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	b.dev = b.a.own(dev)
	if err := fillDev(dev, b.Spec.Linux.Devices, owner); err != nil {
		return err
	}
	if err := b.attachTree("/dev", false, dev); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	return b.otherDevices(b.Spec.Linux.Devices)
}

// fillDev makes what is in /dev. Devices of the spec belong to whom the spec
// says, by ids of the host: a user namespace gives nobody a device of the host.
func fillDev(dev int, devices []specs.LinuxDevice, owner linux.Owner) error {
	for _, n := range defaultDevices(owner) {
		if err := makeNode(dev, n, owner); err != nil {
			return fmt.Errorf("device %q: %w", n.Path, err)
		}
	}
	for _, n := range devices {
		if !below(path.Clean(n.Path), "/dev") {
			continue
		}
		if err := makeNode(dev, n, owner); err != nil {
			return fmt.Errorf("device %q: %w", n.Path, err)
		}
	}
	links := [][2]string{
		{"/proc/self/fd", "fd"},
		{"/proc/self/fd/0", "stdin"},
		{"/proc/self/fd/1", "stdout"},
		{"/proc/self/fd/2", "stderr"},
		{"pts/ptmx", "ptmx"},
	}
	if _, err := os.Lstat("/proc/kcore"); err == nil {
		links = append(links, [2]string{"/proc/kcore", "core"})
	}
	for _, l := range links {
		if err := unix.Symlinkat(l[0], dev, l[1]); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("link /dev/%s: %w", l[1], err)
		}
		if err := unix.Fchownat(dev, l[1], owner.UID, owner.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("link /dev/%s: %w", l[1], err)
		}
	}
	return nil
}

// defaultDevices are those that every container has.
func defaultDevices(owner linux.Owner) []specs.LinuxDevice {
	mode, uid, gid := os.FileMode(0o666), uint32(owner.UID), uint32(owner.GID)
	var list []specs.LinuxDevice
	for _, d := range []struct {
		name         string
		major, minor int64
	}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}} {
		list = append(list, specs.LinuxDevice{Path: "/dev/" + d.name, Type: "c", Major: d.major, Minor: d.minor, FileMode: &mode, UID: &uid, GID: &gid})
	}
	return list
}

// makeNode makes a node in our own tmpfs, directories on the way included. Where
// a node of that name is already, it is replaced.
func makeNode(dev int, n specs.LinuxDevice, owner linux.Owner) error {
	rel := strings.TrimPrefix(path.Clean(n.Path), "/dev/")
	if rel == "/dev" || rel == "" {
		return fmt.Errorf("%w: device path", ErrInvalid)
	}
	if strings.HasPrefix(rel, "pts/") || rel == "ptmx" || rel == "console" {
		return nil // the container's own devpts has them
	}
	tree := linux.NewTree(dev)
	tree.OwnedBy(owner)
	s, err := tree.Find(path.Dir(rel), linux.Want{Make: true, Strict: true})
	if err != nil {
		return err
	}
	defer linux.CloseAll(s.Fd)
	return makeNodeAt(s.Fd, path.Base(rel), n)
}

// maxMinor and maxMajor are what the kernel's dev_t holds; more would be cut to
// the number of another device.
const (
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
)

func makeNodeAt(dir int, name string, n specs.LinuxDevice) error {
	var kind uint32
	switch n.Type {
	case "c", "u":
		kind = unix.S_IFCHR
	case "b":
		kind = unix.S_IFBLK
	case "p":
		kind = unix.S_IFIFO
	default:
		return fmt.Errorf("%w: device type %q", ErrInvalid, n.Type)
	}
	if n.Major < 0 || n.Major > maxMajor || n.Minor < 0 || n.Minor > maxMinor {
		return fmt.Errorf("%w: device number %d:%d", ErrInvalid, n.Major, n.Minor)
	}
	mode := uint32(0o666)
	if n.FileMode != nil {
		mode = uint32(*n.FileMode) & 0o777
	}
	err := unix.Mknodat(dir, name, kind|mode, int(unix.Mkdev(uint32(n.Major), uint32(n.Minor))))
	if errors.Is(err, unix.EEXIST) {
		if err = unix.Unlinkat(dir, name, 0); err == nil {
			err = unix.Mknodat(dir, name, kind|mode, int(unix.Mkdev(uint32(n.Major), uint32(n.Minor))))
		}
	}
	if err != nil {
		return err
	}
	if err := unix.Fchmodat(dir, name, mode, 0); err != nil { // the umask took its part; nobody else is here yet
		return err
	}
	uid, gid := -1, -1
	if n.UID != nil {
		uid = int(*n.UID)
	}
	if n.GID != nil {
		gid = int(*n.GID)
	}
	return unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

// otherDevices makes nodes that the spec wants elsewhere than in /dev: in a
// tmpfs each, so that none comes to lie in the container's layer, would outlive
// it there, and has a name that a link could redirect.
func (b *container) otherDevices(devices []specs.LinuxDevice) error {
	for _, n := range devices {
		dest := path.Clean(n.Path)
		if below(dest, "/dev") {
			continue
		}
		holder, err := linux.NewFS("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, linux.Option{Key: "nr_inodes", Value: "4"})
		if err != nil {
			return err
		}
		b.a.own(holder)
		if err := makeNodeAt(holder, "node", n); err != nil {
			return fmt.Errorf("device %q: %w", dest, err)
		}
		t, err := b.find(dest, true)
		if err != nil {
			return fmt.Errorf("device %q: %w", dest, err)
		}
		node, err := unix.Openat(holder, "node", unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		m, err := linux.ClonePart(holder, b.a.own(node))
		if err != nil {
			return fmt.Errorf("device %q: %w", dest, err)
		}
		b.a.own(m)
		b.mounts = append(b.mounts, func() { b.a.attach("mount device", fd(m), b.emit(t)) })
	}
	return nil
}

// mountDevpts makes the container's terminals: the daemon's mount, of which it
// keeps a descriptor, so that terminals can be opened without a name inside.
func (b *container) mountDevpts(dest string, o mountOptions) error {
	gid := "5"
	for _, d := range o.data {
		if d.Key == "gid" {
			gid = d.Value
		}
	}
	m, err := b.newDevpts(o.set, gid)
	if err != nil {
		return err
	}
	if err := b.attachTree(dest, false, m); err != nil {
		return err
	}
	if !b.Spec.Process.Terminal {
		return nil
	}
	if err := b.openTerminal(m); err != nil {
		return err
	}
	return b.bindConsole()
}

func (b *container) newDevpts(attrs uint64, gid string) (int, error) {
	tty, err := strconv.ParseUint(gid, 10, 31)
	if err != nil {
		return -1, fmt.Errorf("%w: gid %q", ErrInvalid, gid)
	}
	group, err := b.users.gid(uint32(tty))
	if err != nil { // a small map: terminals are then of their users alone
		if group, err = b.users.gid(0); err != nil {
			return -1, err
		}
	}
	m, err := linux.NewFS("devpts", int(attrs|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC), linux.Option{Key: "newinstance"},
		linux.Option{Key: "ptmxmode", Value: "0666"}, linux.Option{Key: "mode", Value: "0620"}, linux.Option{Key: "gid", Value: strconv.Itoa(group)})
	if err != nil {
		return -1, err
	}
	b.a.own(m)
	b.devpts, err = linux.Dup(m)
	return m, err
}

// terminalElsewhere gives a process its terminal when a volume lies over /dev
// and there is no devpts: from one that is mounted nowhere.
func (b *container) terminalElsewhere() error {
	if !b.Spec.Process.Terminal || b.slave >= 0 {
		return nil
	}
	m, err := b.newDevpts(0, "5")
	if err != nil {
		return err
	}
	return b.openTerminal(m)
}

// openTerminal makes the process's terminal.
func (b *container) openTerminal(devpts int) error {
	var err error
	if b.master, b.slave, err = linux.OpenTerminal(devpts); err != nil {
		return err
	}
	b.a.own(b.slave)
	var rows, cols uint
	if s := b.Spec.Process.ConsoleSize; s != nil {
		rows, cols = s.Height, s.Width
	}
	owner, err := b.users.uid(b.id.uid)
	if err != nil {
		return err
	}
	return linux.SetTerminal(b.master, b.slave, uint16(rows), uint16(cols), owner)
}

// bindConsole puts the terminal at /dev/console.
func (b *container) bindConsole() error {
	t, err := b.find("/dev/console", true)
	if err != nil {
		return err
	}
	b.mounts = append(b.mounts, func() {
		// Before 6.15 only a mount of one's own namespace can be cloned, and
		// here devpts has become one (CVE-2025-52565: no name is looked up).
		b.a.about("/dev/console")
		c := b.a.cloneMount("clone terminal", fd(b.slave), 0)
		b.a.attach("mount console", c, b.emit(t))
	})
	return nil
}
