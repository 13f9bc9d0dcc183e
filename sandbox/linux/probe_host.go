package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ProbeNamespaces tries to make a namespace of each kind that pods have, but for
// user namespaces, which a thread cannot try.
func ProbeNamespaces() []Feature {
	var list []Feature
	for _, n := range []struct {
		name string
		flag int
	}{
		{"mount", unix.CLONE_NEWNS},
		{"network", unix.CLONE_NEWNET},
		{"PID", unix.CLONE_NEWPID},
		{"IPC", unix.CLONE_NEWIPC},
		{"UTS", unix.CLONE_NEWUTS},
		{"cgroup", unix.CLONE_NEWCGROUP},
	} {
		_, err := onThread(n.flag, func() (int, error) { return -1, nil })
		list = append(list, Feature{Name: n.name + " namespace", Needed: true, Err: err})
	}
	return list
}

// ProbeOverlay makes a writable overlay in dir, a directory of the host, which
// says whether its file system can carry images and containers.
func ProbeOverlay(dir string) error {
	dir, err := os.MkdirTemp(dir, ".probe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	paths := make([]string, 4)
	for i, name := range []string{"lower", "top", "upper", "work"} {
		paths[i] = filepath.Join(dir, name)
		if err := os.Mkdir(paths[i], 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(paths[0], "file"), []byte("x"), 0o600); err != nil {
		return err
	}
	fd, err := Overlay(paths[:2], paths[2], paths[3])
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// A whiteout is a device node, and an opaque directory an attribute: what
	// the file system of upper must be able to hold.
	if err := unix.Unlinkat(fd, "file", 0); err != nil {
		return fmt.Errorf("delete a file of an image: %w", err)
	}
	return nil
}

// ProbeLayersOneByOne tries whether overlayfs takes its layers by an option
// each (Linux 6.8); without it, all go into one.
func ProbeLayersOneByOne() error {
	return tryFd(func() (int, error) {
		fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
		if err != nil {
			return -1, err
		}
		if err := unix.FsconfigSetString(fs, "lowerdir+", "/"); err != nil {
			_ = unix.Close(fs)
			return -1, err
		}
		return fs, nil
	})
}

// Messages of nf_tables (linux/netfilter/nf_tables.h): "which generation".
const (
	nftSubsystem  = 10
	nftGetGen     = 16
	nftAnswerTime = 5 * time.Second
)

// ProbeNftables asks nf_tables of this network namespace which generation of
// rules it has.
func ProbeNftables() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	limit := unix.NsecToTimeval(nftAnswerTime.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return err
	}
	msg := make([]byte, unix.NLMSG_HDRLEN+4) // and struct nfgenmsg, all zero
	binary.NativeEndian.PutUint32(msg, uint32(len(msg)))
	binary.NativeEndian.PutUint16(msg[4:], nftSubsystem<<8|nftGetGen)
	binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST)
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.NLMSG_HDRLEN+4 {
		return errors.New("an answer that is too short")
	}
	if binary.NativeEndian.Uint16(answer[4:]) == unix.NLMSG_ERROR {
		if e := int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:])); e != 0 {
			return unix.Errno(-e)
		}
	}
	return nil
}

// Disk describes the file system of a path.
type Disk struct {
	Type              string // "ext4", or a number in hexadecimal
	Free, Total       uint64 // bytes
	FreeInodes, Nodes uint64
	Readonly          bool
}

// DiskOf asks the file system that a path lies on.
func DiskOf(path string) (Disk, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Disk{}, err
	}
	d := Disk{
		Type: fmt.Sprintf("%#x", st.Type),
		Free: st.Bavail * uint64(st.Bsize), Total: st.Blocks * uint64(st.Bsize),
		FreeInodes: st.Ffree, Nodes: st.Files, Readonly: st.Flags&unix.ST_RDONLY != 0,
	}
	for _, known := range []struct {
		magic int64
		name  string
	}{
		{unix.EXT4_SUPER_MAGIC, "ext4"},
		{unix.XFS_SUPER_MAGIC, "xfs"},
		{unix.BTRFS_SUPER_MAGIC, "btrfs"},
		{unix.TMPFS_MAGIC, "tmpfs"},
		{unix.OVERLAYFS_SUPER_MAGIC, "overlay"},
		{unix.NFS_SUPER_MAGIC, "nfs"},
		{unix.F2FS_SUPER_MAGIC, "f2fs"},
		{unix.FUSE_SUPER_MAGIC, "fuse"},
		{0x2fc12fc1, "zfs"},
	} {
		if int64(st.Type) == known.magic {
			d.Type = known.name
		}
	}
	return d, nil
}
