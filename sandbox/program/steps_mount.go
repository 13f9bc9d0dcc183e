package program

import (
	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

// both: a mount by descriptor onto a descriptor.
const both = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH

// attr places a struct mount_attr in data.
func (a *assembly) attr(set, clr, propagation uint64) ptr { return a.words(set, clr, propagation, 0) }

// attachRoot puts a detached root over the "/" of the child's own copy of the
// keeper's mount namespace and goes there. Nothing of it reaches the keeper.
func (a *assembly) attachRoot(root int) {
	a.about("/")
	a.call("change to keeper's root", unix.SYS_CHDIR, "/")
	a.call("make all mounts slaves", unix.SYS_MOUNT_SETATTR, unix.AT_FDCWD, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE,
		a.attr(0, 0, unix.MS_SLAVE), 32)
	a.call("attach root", unix.SYS_MOVE_MOUNT, fd(root), "", unix.AT_FDCWD, "", both)
	a.call("change to root", unix.SYS_FCHDIR, fd(root))
}

// enterRoot makes the attached root the only one.
func (a *assembly) enterRoot() {
	a.about("/")
	a.call("pivot root", unix.SYS_PIVOT_ROOT, ".", ".")
	a.call("detach keeper's root", unix.SYS_UMOUNT2, ".", unix.MNT_DETACH)
	a.call("change to new root", unix.SYS_CHDIR, "/")
}

// kernelFS mounts a file system that takes its meaning from the namespaces of
// the process that makes it.
func (a *assembly) kernelFS(fstype string, attrs int, options ...linux.Option) slot {
	ctx := a.call("open file system "+fstype, unix.SYS_FSOPEN, fstype, unix.FSOPEN_CLOEXEC)
	for _, o := range append([]linux.Option{{Key: "source", Value: fstype}}, options...) {
		if o.Value == "" {
			a.call("set option "+o.Key, unix.SYS_FSCONFIG, ctx, unix.FSCONFIG_SET_FLAG, o.Key, 0, 0)
			continue
		}
		a.call("set option "+o.Key, unix.SYS_FSCONFIG, ctx, unix.FSCONFIG_SET_STRING, o.Key, o.Value, 0)
	}
	a.call("make file system "+fstype, unix.SYS_FSCONFIG, ctx, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
	return a.call("mount file system "+fstype, unix.SYS_FSMOUNT, ctx, unix.FSMOUNT_CLOEXEC, attrs)
}

// attach moves a detached mount onto a target; both are fd or slot.
func (a *assembly) attach(name string, mount, target any) {
	a.call(name, unix.SYS_MOVE_MOUNT, mount, "", target, "", both)
}

// clone makes a detached copy of the mount at a descriptor or slot, which must
// lie in the child's own namespace.
func (a *assembly) cloneMount(name string, of any, flags int) slot {
	return a.call(name, unix.SYS_OPEN_TREE, of, "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|flags)
}

// openIn opens a name in one of the kernel's own file systems, which the
// container cannot have changed: no symlink, not out of it.
func (a *assembly) openIn(name string, dir any, path string) slot {
	how := a.words(unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0, unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_BENEATH)
	return a.call(name, unix.SYS_OPENAT2, dir, path, how, 24)
}
