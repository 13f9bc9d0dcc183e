package gate

import "golang.org/x/sys/unix"

// calls are those that change something which outlives the process, or tell
// another process of it. Clone is not among them: a container's shell whose fork
// is held up when a signal comes says that it cannot fork.
var calls = map[uint32]string{
	unix.SYS_MKDIRAT:           "mkdir",
	unix.SYS_UNLINKAT:          "unlink",
	unix.SYS_RENAMEAT:          "rename",
	unix.SYS_RENAMEAT2:         "rename",
	unix.SYS_LINKAT:            "link",
	unix.SYS_SYMLINKAT:         "symlink",
	unix.SYS_MKNODAT:           "mknod",
	unix.SYS_OPENAT:            "create", // with O_CREAT only
	unix.SYS_FTRUNCATE:         "truncate",
	unix.SYS_FSYNC:             "fsync",
	unix.SYS_FDATASYNC:         "fsync",
	unix.SYS_SYNCFS:            "syncfs",
	unix.SYS_MOUNT:             "mount",
	unix.SYS_UMOUNT2:           "unmount",
	unix.SYS_MOVE_MOUNT:        "move mount",
	unix.SYS_UNSHARE:           "unshare",
	unix.SYS_EXECVE:            "exec",
	unix.SYS_EXECVEAT:          "exec",
	unix.SYS_SENDMSG:           "send",
	unix.SYS_SENDTO:            "netlink",
	unix.SYS_PIDFD_SEND_SIGNAL: "signal",
}

// Offsets in struct seccomp_data, of the low halves on a little-endian machine.
const (
	offsetNr   = 0
	offsetArg2 = 32
)

// program stops the calls and lets all others pass.
func program() []unix.SockFilter {
	prog := []unix.SockFilter{load32(offsetNr)}
	notify := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF}
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	for nr := range calls {
		switch nr {
		case unix.SYS_OPENAT:
			prog = append(prog, unless(nr, 4), load32(offsetArg2), anyOf(unix.O_CREAT), notify, allow)
		default:
			prog = append(prog, unless(nr, 1), notify)
		}
	}
	return append(prog, allow)
}

func load32(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

// unless skips the next n when the number is another.
func unless(nr uint32, n uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: n, K: nr}
}

// anyOf skips the next one when none of the bits is set.
func anyOf(bits uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jf: 1, K: bits}
}
