package program

import (
	"context"
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

// Exec builds the program of another process in a running container.
type Exec struct {
	// Process is what to run. Its OOMScoreAdj counts, 0 when nil.
	Process *specs.Process
	// Spec is the container's, or nil: it tells whether there is a user namespace
	// to join, and what its ids are outside.
	Spec *specs.Spec
	// Init is a pidfd of the container's first process, InitPid its number (not
	// used: the pidfd decides).
	Init    int
	InitPid int
	Cgroup  Cgroup
	Stdio   Stdio
	// Devpts is a descriptor of the container's devpts mount (Program.Terminal);
	// needed when Process.Terminal, else -1.
	Devpts      int
	Filter      []byte // as in Container
	FilterFlags uint
	NoFile      *[2]uint64
}

// Build writes the program. It has two clones: a process that is joining can be
// traced by any container with CAP_SYS_PTRACE, so all is done before it can be
// seen (CVE-2016-9962). Errors: ErrInvalid, or what the system said.
func (e *Exec) Build(_ context.Context) (*Program, error) {
	if e.Process == nil {
		return nil, fmt.Errorf("%w: no process", ErrInvalid)
	}
	if e.Process.SelinuxLabel != "" {
		return nil, fmt.Errorf("%w: SELinux labels are not supported", ErrInvalid)
	}
	id, err := identityOf(e.Process, e.Filter, e.FilterFlags)
	if err != nil {
		return nil, err
	}
	p := newProgram(newAssembly())
	if err := e.build(p, id); err != nil {
		_ = p.Close()
		return nil, err
	}
	return p, nil
}

func (e *Exec) build(prog *Program, id *identity) error {
	a, p := prog.a, e.Process
	proc, err := linux.Proc()
	if err != nil {
		return err
	}
	a.own(proc)
	stdio := e.Stdio
	if p.Terminal {
		if stdio, err = e.terminal(prog, id); err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
	}
	adj := 0
	if p.OOMScoreAdj != nil {
		adj = *p.OOMScoreAdj
	}
	where := id.place(true)
	return run([]phase{
		{"signals", "an ignored signal would outlive execve", do(a.signals)},
		{"cgroups", "before any namespace", do(func() { a.joinCgroups(e.Cgroup) })},
		{"oom score", "while /proc of the host can be written", do(func() { a.oomScore(proc, adj) })},
		{"profile", "while /proc of the host can be written", do(func() { a.profile(proc, p.ApparmorProfile) })},
		{"namespaces", "all at once; the pid namespace for children only", do(e.join(a))},
		{"working directory", "in the container's root, no magic links (CVE-2024-21626)", do(func() { a.about(p.Cwd).workdir(p.Cwd) })},
		{"plain", "", do(func() { a.plain(umaskOf(p)) })},
		{"stdio", "", func() error { return a.stdio(stdio) }},
		{"limits", "after everything that opens descriptors", func() error { return a.limits(p.Rlimits, e.NoFile) }},
		{"user namespace", "limits cannot be raised in it", do(func() { e.enterUsers(a) })},
		{"keyring", "whose owner is root of the user namespace", do(a.keyring)},
		{"identity", "bounding set, groups, ids", do(func() { a.identity(id) })},
		{"give up", "nothing of the keeper may be found in a visible child", do(a.second)},
		{"capabilities", "after the ids; before a visible child", do(func() { a.capabilities(id, where) })},
		{"second clone", "only now it can be seen inside", do(a.split)},
		{"session", "of the process that stays", do(func() { a.session(p.Terminal) })},
		{"filter", "last", do(func() { a.lastFilter(id, where) })},
		{"exec", "", func() error { return a.exec(p) }},
	})
}

func (e *Exec) join(a *assembly) func() {
	const flags = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET |
		unix.CLONE_NEWCGROUP | unix.CLONE_NEWPID
	return func() { a.about("").call("join namespaces", unix.SYS_SETNS, fd(e.Init), flags) }
}

func (e *Exec) enterUsers(a *assembly) {
	if hasUserns(e.Spec) {
		a.enterUsers(e.Init)
	}
}

func hasUserns(s *specs.Spec) bool {
	if s == nil || s.Linux == nil {
		return false
	}
	return slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace })
}

// terminal makes a terminal in the container's devpts.
func (e *Exec) terminal(prog *Program, id *identity) (Stdio, error) {
	if e.Devpts < 0 {
		return Stdio{}, fmt.Errorf("%w: the container's devpts was not passed", ErrInvalid)
	}
	master, slave, err := linux.OpenTerminal(e.Devpts)
	if err != nil {
		return Stdio{}, err
	}
	prog.master = master
	prog.a.own(slave)
	var rows, cols uint
	if s := e.Process.ConsoleSize; s != nil {
		rows, cols = s.Height, s.Width
	}
	owner := int(id.uid)
	if hasUserns(e.Spec) {
		if owner, err = HostID(e.Spec.Linux.UIDMappings, id.uid); err != nil {
			return Stdio{}, err
		}
	}
	if err := linux.SetTerminal(master, slave, uint16(rows), uint16(cols), owner); err != nil {
		return Stdio{}, err
	}
	return Stdio{orElse(e.Stdio.In, slave), orElse(e.Stdio.Out, slave), orElse(e.Stdio.Err, slave)}, nil
}
