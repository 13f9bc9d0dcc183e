package program

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

// mountOptions are the options of an OCI mount, sorted out.
type mountOptions struct {
	set, clear   uint64 // MOUNT_ATTR_*
	recursiveSet uint64 // the same for everything below: rro and its like
	propagation  string
	recursive    bool // rbind
	bind         bool
	data         []linux.Option // of the file system
}

func attrNames() map[string]uint64 {
	return map[string]uint64{
		"ro": unix.MOUNT_ATTR_RDONLY, "nosuid": unix.MOUNT_ATTR_NOSUID, "nodev": unix.MOUNT_ATTR_NODEV,
		"noexec": unix.MOUNT_ATTR_NOEXEC, "nodiratime": unix.MOUNT_ATTR_NODIRATIME, "nosymfollow": unix.MOUNT_ATTR_NOSYMFOLLOW,
	}
}

func clearNames() map[string]uint64 {
	return map[string]uint64{
		"rw": unix.MOUNT_ATTR_RDONLY, "suid": unix.MOUNT_ATTR_NOSUID, "dev": unix.MOUNT_ATTR_NODEV,
		"exec": unix.MOUNT_ATTR_NOEXEC, "diratime": unix.MOUNT_ATTR_NODIRATIME, "symfollow": unix.MOUNT_ATTR_NOSYMFOLLOW,
	}
}

func parseOptions(options []string) mountOptions {
	var m mountOptions
	set, clr := attrNames(), clearNames()
	for _, o := range options {
		switch {
		case set[o] != 0:
			m.set |= set[o]
			m.clear &^= set[o]
		case clr[o] != 0:
			m.set &^= clr[o]
			m.clear |= clr[o]
		case strings.HasPrefix(o, "r") && set[o[1:]] != 0:
			m.recursiveSet |= set[o[1:]]
		default:
			m.other(o)
		}
	}
	return m
}

func (m *mountOptions) other(o string) {
	switch o {
	case "bind":
		m.bind = true
	case "rbind":
		m.bind, m.recursive = true, true
	case "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable":
		m.propagation = o
	case "noatime":
		m.set, m.clear = m.set|unix.MOUNT_ATTR_NOATIME, m.clear|unix.MOUNT_ATTR__ATIME
	case "strictatime":
		m.set, m.clear = m.set|unix.MOUNT_ATTR_STRICTATIME, m.clear|unix.MOUNT_ATTR__ATIME
	case "relatime":
		m.set, m.clear = m.set|unix.MOUNT_ATTR_RELATIME, m.clear|unix.MOUNT_ATTR__ATIME
	case "", "defaults", "atime", "async":
	default:
		k, v, _ := strings.Cut(o, "=")
		m.data = append(m.data, linux.Option{Key: k, Value: v})
	}
}

// propagation reads a propagation type; 0 = not given.
func propagation(s string) (uint64, error) {
	switch strings.TrimPrefix(s, "r") {
	case "":
		return 0, nil
	case "private":
		return unix.MS_PRIVATE, nil
	case "slave":
		return unix.MS_SLAVE, nil
	case "shared":
		return unix.MS_SHARED, nil
	}
	return 0, fmt.Errorf("%w: propagation %q", ErrInvalid, s)
}
