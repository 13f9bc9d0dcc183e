package program

import (
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

// users is the user namespace of a container and what its ids are outside.
type users struct {
	fd         int // of the namespace
	uids, gids []specs.LinuxIDMapping
}

// usersOf gives the user namespace that a container joins; nil: the host's. A
// new one is never made here: it belongs to the pod, as do the others that hang on it.
func usersOf(spec *specs.Spec, join map[specs.LinuxNamespaceType]int) (*users, error) {
	if !hasUserns(spec) {
		return nil, nil
	}
	fd, ok := join[specs.UserNamespace]
	if !ok || fd < 0 {
		return nil, fmt.Errorf("%w: the user namespace was not passed", ErrInvalid)
	}
	u := &users{fd: fd, uids: spec.Linux.UIDMappings, gids: spec.Linux.GIDMappings}
	if _, err := u.root(); err != nil {
		return nil, err
	}
	return u, nil
}

// HostID is what an id of a container is outside. ErrInvalid: it has no mapping.
func HostID(maps []specs.LinuxIDMapping, id uint32) (int, error) {
	for _, m := range maps {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return int(m.HostID + (id - m.ContainerID)), nil
		}
	}
	return 0, fmt.Errorf("%w: id %d has no mapping in the user namespace", ErrInvalid, id)
}

// uid is a user outside.
func (u *users) uid(id uint32) (int, error) {
	if u == nil {
		return int(id), nil
	}
	return HostID(u.uids, id)
}

// gid is a group outside.
func (u *users) gid(id uint32) (int, error) {
	if u == nil {
		return int(id), nil
	}
	return HostID(u.gids, id)
}

// root is the container's root outside.
func (u *users) root() (linux.Owner, error) {
	uid, err := u.uid(0)
	if err != nil {
		return linux.Owner{}, err
	}
	gid, err := u.gid(0)
	return linux.Owner{UID: uid, GID: gid}, err
}

// inside tells whether an id of the host is one of the namespace's.
func inside(maps []specs.LinuxIDMapping, id uint32) bool {
	return slices.ContainsFunc(maps, func(m specs.LinuxIDMapping) bool { return id >= m.HostID && id-m.HostID < m.Size })
}

// take gives a directory of ours to whom it belongs to in the image: the
// writable layer holds ids of the host.
func (u *users) take(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return err
	}
	if inside(u.uids, st.Uid) && inside(u.gids, st.Gid) {
		return nil // taken before
	}
	uid, err := u.uid(st.Uid)
	if err != nil {
		return err
	}
	gid, err := u.gid(st.Gid)
	if err != nil {
		return err
	}
	return unix.Lchown(dir, uid, gid)
}

// Mapping is a user namespace that does nothing but map the ids of volumes.
type Mapping struct {
	UIDs, GIDs []specs.LinuxIDMapping
	Userns     int // a descriptor of it, the caller's
}

// mappingOf finds the namespace for the id mappings of a mount: the container's
// own, or one that was passed.
func (b *container) mappingOf(m specs.Mount) (userns int, mapped bool, err error) {
	switch {
	case len(m.UIDMappings) == 0 && len(m.GIDMappings) == 0:
		return 0, false, nil
	case b.users != nil && slices.Equal(m.UIDMappings, b.users.uids) && slices.Equal(m.GIDMappings, b.users.gids):
		return b.users.fd, true, nil
	}
	for _, o := range b.Mappings {
		if slices.Equal(m.UIDMappings, o.UIDs) && slices.Equal(m.GIDMappings, o.GIDs) {
			return o.Userns, true, nil
		}
	}
	return 0, false, fmt.Errorf("%w: a user namespace with its id mappings was not passed", ErrInvalid)
}

// enterUsers makes the process root of a user namespace. ns is a descriptor of
// it, or a pidfd of a process in it. From before it on the process cannot be
// traced: whoever has CAP_SYS_PTRACE in there and sees it (a pod with the host's
// PID namespace) would find the keeper's descriptors in it. A change of ids
// decides that anew, so it is said twice.
func (a *assembly) enterUsers(ns int) {
	a.about("")
	a.call("become undumpable", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	a.call("join user namespace", unix.SYS_SETNS, fd(ns), unix.CLONE_NEWUSER)
	a.call("set groups", unix.SYS_SETGROUPS, 0, 0)
	a.call("set gid", unix.SYS_SETRESGID, 0, 0, 0)
	a.call("set uid", unix.SYS_SETRESUID, 0, 0, 0)
	a.call("become undumpable", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// enterUsers takes the finished tree into the user namespace. A mount namespace
// that is copied into another user namespace has its mounts locked there: none
// can be taken off another, moved away, or be given back what it was denied
// (read-only, nosuid, nodev, noexec), whatever capabilities one has in there. So
// every mount has to be in its place before this, and none may come after.
//
// The cgroup namespace is made once more, for the container's root to own; its
// cgroups are the same. The PID namespace stays the host's property: a procfs of
// one that the container owned could only be mounted by the container.
func (b *container) enterUsers() {
	if b.users == nil {
		return
	}
	b.a.enterUsers(b.users.fd)
	b.a.call("copy mounts into user namespace", unix.SYS_UNSHARE, unix.CLONE_NEWNS)
	if b.ns.cgroup {
		b.a.call("make cgroup namespace", unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP)
	}
}
