package program

import (
	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

// phase is a part of a start. The order of the phases is security; the note
// says what breaks when one of them moves.
type phase struct {
	name string
	note string
	add  func() error
}

// run adds the steps of all phases.
func run(phases []phase) error {
	for _, p := range phases {
		if err := p.add(); err != nil {
			return err
		}
	}
	return nil
}

// steps is the start of a container, first to last.
func (b *container) steps() error {
	a, p := b.a, b.Spec.Process
	where := b.id.place(b.ns.two)
	return run([]phase{
		{"signals", "an ignored signal would outlive execve", do(a.signals)},
		{"cgroups", "before any namespace: limits hold from here on (CVE-2025-47291)", do(func() { a.joinCgroups(b.Cgroup) })},
		{"oom score", "while /proc of the host can be written", do(func() { a.oomScore(b.proc, b.adj()) })},
		{"namespaces", "the cgroup namespace after the cgroups: its root is the cgroup of now", do(b.enterNamespaces)},
		{"visit", "while the mount namespace is still a copy of the keeper's", do(b.visit)},
		{"root", "mounts reach nobody else: the copy is made a slave first", do(func() { a.attachRoot(b.root) })},
		{"mounts", "by descriptors found before (CVE-2021-30465)", do(b.attachAll)},
		{"new root", "the keeper's is gone before anything of the container runs", b.enter},
		{"plain", "", do(func() { a.plain(umaskOf(p)) })},
		{"stdio", "", b.addStdio},
		{"working directory", "inside the new root, no magic links (CVE-2024-21626)", do(func() { a.about(p.Cwd).workdir(p.Cwd) })},
		{"limits", "after everything that opens descriptors", func() error { return a.limits(p.Rlimits, b.NoFile) }},
		{"profile", "while /proc of the host can be written", do(func() { a.profile(b.proc, p.ApparmorProfile) })},
		{"user namespace", "after all mounts, which are locked by it; limits cannot be raised in it", do(b.enterUsers)},
		{"keyring", "whose owner is root of the user namespace", do(a.keyring)},
		{"identity", "bounding set, groups, ids (CVE-2022-29162: nothing inheritable)", do(func() { a.identity(b.id) })},
		{"give up", "nothing of the keeper may be found in a visible child (CVE-2016-9962)", do(b.giveUp)},
		{"capabilities", "after the ids; before a visible child", do(func() { a.capabilities(b.id, where) })},
		{"second clone", "only now the child can be seen inside", do(b.second)},
		{"session", "of the process that stays", do(func() { a.session(p.Terminal) })},
		{"filter", "last: it need not allow any step of ours", do(func() { a.lastFilter(b.id, where) })},
		{"exec", "", func() error { return a.exec(p) }},
	})
}

func do(f func()) func() error {
	return func() error { f(); return nil }
}

func (a *assembly) lastFilter(id *identity, where place) {
	if where == filterLast || where == filterKeep {
		a.about("").seccomp(id)
	}
}

// enterNamespaces joins what is the pod's and makes what is new.
func (b *container) enterNamespaces() {
	a := b.a
	a.form.Clone |= b.ns.clone
	flags := cloneFlags()
	for _, t := range b.ns.join {
		a.about("").call("join "+string(t)+" namespace", unix.SYS_SETNS, fd(b.ns.fds[t]), flags[t])
	}
	if b.ns.cgroup {
		a.call("make cgroup namespace", unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP)
	}
	if b.ns.init >= 0 {
		a.call("join pid namespace", unix.SYS_SETNS, fd(b.ns.init), unix.CLONE_NEWPID)
	}
	if b.ns.uts && b.Spec.Hostname != "" {
		a.call("set host name", unix.SYS_SETHOSTNAME, b.Spec.Hostname, len(b.Spec.Hostname))
	}
	if b.ns.uts && b.Spec.Domainname != "" {
		a.call("set domain name", unix.SYS_SETDOMAINNAME, b.Spec.Domainname, len(b.Spec.Domainname))
	}
}

func (b *container) attachAll() {
	for _, m := range b.mounts {
		m()
	}
}

func (b *container) enter() error {
	b.a.enterRoot()
	p, err := b.rootPropagation()
	if err == nil && p != 0 {
		b.a.call("set propagation of root", unix.SYS_MOUNT_SETATTR, unix.AT_FDCWD, "/", 0, b.a.attr(0, 0, p), 32)
	}
	return err
}

func (b *container) addStdio() error {
	s := b.Stdio
	if b.slave >= 0 {
		s = Stdio{orElse(s.In, b.slave), orElse(s.Out, b.slave), orElse(s.Err, b.slave)}
	}
	return b.a.stdio(s)
}

func orElse(fd, other int) int {
	if fd < 0 {
		return other
	}
	return fd
}

func (b *container) giveUp() {
	if b.ns.two {
		b.a.second()
		return
	}
	b.a.hide()
}

func (b *container) second() {
	if b.ns.two {
		b.a.split()
	}
}

func (b *container) visit() {
	if b.before != nil {
		b.before()
	}
}

// visitProc gives a detached copy of the procfs that PID 1 of the joined
// namespace has mounted. fsopen("proc") takes the PID namespace of the process
// that calls it, which is the host's as long as nobody inside can see it, so a
// new one would show the host's processes.
func (b *container) visitProc(pidProc int, attrs uint64) slot {
	a := b.a
	back := a.call("open own mount namespace", unix.SYS_OPENAT, fd(b.proc), "self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC)
	a.call("visit mount namespace of PID 1", unix.SYS_SETNS, fd(b.ns.init), unix.CLONE_NEWNS)
	flags := 0
	if b.PidInitLocked {
		flags = unix.AT_RECURSIVE
	}
	proc := a.cloneMount("clone its /proc", fd(pidProc), flags)
	a.call("return to own mount namespace", unix.SYS_SETNS, back, unix.CLONE_NEWNS)
	a.call("change to keeper's root", unix.SYS_CHDIR, "/")
	a.call("set attributes of /proc", unix.SYS_MOUNT_SETATTR, proc, "", unix.AT_EMPTY_PATH,
		a.attr(attrs, unix.MOUNT_ATTR_RDONLY&^attrs, unix.MS_PRIVATE), 32)
	return proc
}

// procSource opens the /proc of PID 1 when there is one to join.
func (b *container) procSource() (int, error) {
	fd, err := linux.ProcOf(b.ns.init)
	if err != nil {
		return -1, err
	}
	return b.a.own(fd), nil
}
