package program

import (
	"fmt"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"slipway/sandbox/program/runner"
)

// signals sets all signals to their defaults and empties the mask.
// CLONE_CLEAR_SIGHAND leaves ignored signals ignored and the mask as it is.
func (a *assembly) signals() {
	a.about("")
	a.call("empty signal mask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, a.words(0), 0, 8)
	dfl := a.words(0, 0, 0, 0)
	for sig := 1; sig <= 64; sig++ {
		if sig != int(unix.SIGKILL) && sig != int(unix.SIGSTOP) {
			a.call("default signal action", unix.SYS_RT_SIGACTION, sig, dfl, 0, 8)
		}
	}
}

// joinCgroups moves the child into its v1 groups; "0" is whoever writes it.
// Before any namespace (CVE-2025-47291).
func (a *assembly) joinCgroups(c Cgroup) {
	a.about("")
	for _, p := range c.Procs {
		a.call("join cgroup", unix.SYS_WRITE, fd(p), "0", 1)
	}
	a.gate(c.Gate) // in its groups: systemd removes empty ones that it does not know
	if c.Into >= 0 {
		a.form.Cgroup = int(a.pass(c.Into))
	}
}

// oomScore writes oom_score_adj through a /proc of the keeper's PID namespace.
// To go below what one has takes CAP_SYS_RESOURCE; without it the value ends as
// near to the wanted one as it may: 0 is tried before a negative one.
func (a *assembly) oomScore(proc, adj int) {
	a.about("")
	f := a.call("open oom_score_adj", unix.SYS_OPENAT, fd(proc), "self/oom_score_adj", unix.O_WRONLY|unix.O_CLOEXEC)
	if adj < 0 {
		a.call("set oom_score_adj", unix.SYS_WRITE, f, "0", 1)
		a.tolerate(unix.EACCES)
	}
	text := strconv.Itoa(adj)
	a.call("set oom_score_adj", unix.SYS_WRITE, f, text, len(text))
	a.tolerate(unix.EACCES)
}

// plain gives the child what every process starts with: default scheduling, all
// processors (its cpuset cuts them down), umask.
func (a *assembly) plain(umask uint32) {
	const whoProcess, ioNone = 1, 0
	a.about("")
	a.call("default scheduling", unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_NORMAL, a.words(0))
	a.tolerate(unix.EPERM)
	a.call("default nice value", unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, 0)
	a.tolerate(unix.EPERM, unix.EACCES)
	a.call("default io priority", unix.SYS_IOPRIO_SET, whoProcess, 0, ioNone)
	a.tolerate(unix.EPERM, unix.ENOSYS)
	all := ^uint64(0)
	a.call("all processors", unix.SYS_SCHED_SETAFFINITY, 0, 128, a.words(
		all, all, all, all, all, all, all, all, all, all, all, all, all, all, all, all))
	a.call("set umask", unix.SYS_UMASK, int(umask))
}

// keyring gives the child a session keyring of its own.
func (a *assembly) keyring() {
	a.about("")
	a.call("new session keyring", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0)
	a.tolerate(unix.ENOSYS, unix.EPERM)
}

func umaskOf(p *specs.Process) uint32 {
	if p.User.Umask != nil {
		return *p.User.Umask & 0o777
	}
	return 0o022
}

// rlimits are the resources by the names that OCI specs use.
func rlimits() map[string]int {
	m := map[string]int{}
	for i, name := range []string{
		"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS",
		"SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
	} {
		m["RLIMIT_"+name] = i
	}
	return m
}

// limits sets resource limits; after everything that opens descriptors.
func (a *assembly) limits(list []specs.POSIXRlimit, noFile *[2]uint64) error {
	a.about("")
	known := rlimits()
	if noFile != nil {
		a.call("set RLIMIT_NOFILE", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, a.words(noFile[0], noFile[1]), 0)
	}
	for _, l := range list {
		n, ok := known[l.Type]
		if !ok || l.Soft > l.Hard {
			return fmt.Errorf("%w: limit %q %d:%d", ErrInvalid, l.Type, l.Soft, l.Hard)
		}
		a.call("set "+l.Type, unix.SYS_PRLIMIT64, 0, n, a.words(l.Soft, l.Hard), 0)
	}
	return nil
}

// stdio puts three descriptors in their places.
func (a *assembly) stdio(s Stdio) error {
	a.about("")
	for i, f := range []struct {
		name string
		fd   int
	}{{"stdin", s.In}, {"stdout", s.Out}, {"stderr", s.Err}} {
		if f.fd < 3 {
			return fmt.Errorf("%w: %s is descriptor %d", ErrInvalid, f.name, f.fd)
		}
		a.call("set "+f.name, unix.SYS_DUP3, fd(f.fd), i, 0)
	}
	return nil
}

// session makes the process the leader of its own session, with its terminal.
// Only the process that stays can: a leader's end hangs up the terminal.
func (a *assembly) session(terminal bool) {
	a.about("")
	a.call("new session", unix.SYS_SETSID)
	if terminal {
		a.call("set controlling terminal", unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0)
	}
}

// workdir goes to a directory of the container. Magic links are not followed:
// /proc/self/fd/N leads out (CVE-2024-21626).
func (a *assembly) workdir(path string) {
	if path == "" {
		path = "/"
	}
	a.about(path)
	how := a.words(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	dir := a.call("open working directory", unix.SYS_OPENAT2, unix.AT_FDCWD, path, how, 24)
	a.call("change to working directory", unix.SYS_FCHDIR, dir)
}

// profile asks for an AppArmor profile at the coming execve.
func (a *assembly) profile(proc int, name string) {
	if name == "" || name == "unconfined" {
		return
	}
	a.about(name)
	f := a.call("open AppArmor attribute", unix.SYS_OPENAT, fd(proc), "thread-self/attr/apparmor/exec", unix.O_WRONLY|unix.O_CLOEXEC)
	text := "exec " + name
	a.call("set AppArmor profile", unix.SYS_WRITE, f, text, len(text))
}

// hide closes everything but 0, 1 and 2 for the execve of a child that nobody sees.
func (a *assembly) hide() {
	a.about("")
	a.call("close descriptors on exec", unix.SYS_CLOSE_RANGE, 3, 0xffffffff, unix.CLOSE_RANGE_CLOEXEC)
}

// second adds the clone that appears in a PID namespace where others live. All
// that could be taken from the child is given up before: descriptors, memory,
// being dumpable (after the ids: their change decides it anew; CVE-2016-9962).
// clone, not clone3: seccomp profiles answer ENOSYS to that one.
func (a *assembly) second() {
	a.about("")
	a.call("become undumpable", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	a.call("close descriptors", unix.SYS_CLOSE_RANGE, 3, 0xffffffff, 0)
	a.call("unmap memory", unix.SYS_MUNMAP)
	a.last().Flags |= runner.FlagUnmap
	a.call("withhold pid page", unix.SYS_MADVISE, pidPage{}, pageSpan{}, unix.MADV_DONTFORK)
}

// split is the second clone itself.
func (a *assembly) split() {
	a.form.Two = true
	flags := unix.CLONE_PARENT | unix.CLONE_VFORK | unix.CLONE_PARENT_SETTID | int(unix.SIGCHLD)
	a.call("second clone", unix.SYS_CLONE, flags, 0, pidPage{}, 0, 0)
	a.last().Flags |= runner.FlagFork
}
