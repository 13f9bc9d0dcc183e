package program

import (
	"encoding/binary"
	"fmt"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
	"slipway/sandbox/program/runner"
)

// identity is who a process is and what it may do, checked.
type identity struct {
	uid, gid   uint32
	groups     []uint32
	bounding   linux.CapSet
	permitted  linux.CapSet
	effective  linux.CapSet
	inherit    linux.CapSet
	ambient    linux.CapSet
	noNewPrivs bool
	filter     []byte
	flags      uint
}

func identityOf(p *specs.Process, filter []byte, flags uint) (*identity, error) {
	if len(filter)%8 != 0 || len(filter)/8 > 4096 {
		return nil, fmt.Errorf("%w: a seccomp filter of %d bytes", ErrInvalid, len(filter))
	}
	id := &identity{
		uid: p.User.UID, gid: p.User.GID, groups: p.User.AdditionalGids,
		noNewPrivs: p.NoNewPrivileges, filter: filter, flags: flags,
	}
	if p.Capabilities == nil {
		return id, nil
	}
	for _, c := range []struct {
		set   *linux.CapSet
		names []string
	}{
		{&id.bounding, p.Capabilities.Bounding},
		{&id.permitted, p.Capabilities.Permitted},
		{&id.effective, p.Capabilities.Effective},
		{&id.inherit, p.Capabilities.Inheritable},
		{&id.ambient, p.Capabilities.Ambient},
	} {
		var err error
		if *c.set, err = linux.ParseCaps(c.names); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	return id, nil
}

// place is where the seccomp filter goes in. Loading one takes no_new_privs or
// CAP_SYS_ADMIN at that moment.
type place int

const (
	// filterNone: there is no filter.
	filterNone place = iota
	// filterLast: right before execve, so that no step of ours needs its leave.
	filterLast
	// filterKeep: right before execve too, with CAP_SYS_ADMIN kept until then.
	// execve takes it away: it is in neither the bounding nor the ambient set.
	// For a child that nobody can see.
	filterKeep
	// filterEarly: in the first child, before its capabilities go. The second
	// child is visible to others and must not have CAP_SYS_ADMIN for a moment.
	// The filter must allow what comes after it: capset, prctl, clone,
	// exit_group, execve, and setsid and ioctl with a terminal. Profiles in the
	// manner of Docker's do; one that does not makes the start fail by the
	// name of that step.
	filterEarly
)

func (id *identity) place(two bool) place {
	switch {
	case len(id.filter) == 0:
		return filterNone
	case id.noNewPrivs || id.effective.Has(unix.CAP_SYS_ADMIN):
		return filterLast
	case two:
		return filterEarly
	}
	return filterKeep
}

// identity adds the steps that give up what the keeper is. The capability sets
// come after the ids, inheritable and ambient empty unless asked for
// (CVE-2022-29162, CVE-2022-24769).
func (a *assembly) identity(id *identity) {
	a.about("")
	a.call("reset securebits", unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, 0, 0, 0, 0)
	a.call("keep capabilities", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)
	for n := range linux.LastCap() + 1 {
		if !id.bounding.Has(n) {
			a.call("drop bounding capability", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, n, 0, 0, 0)
		}
	}
	groups := make([]byte, 0, 4*len(id.groups))
	for _, g := range id.groups {
		groups = binary.NativeEndian.AppendUint32(groups, g)
	}
	a.call("set groups", unix.SYS_SETGROUPS, len(id.groups), groups)
	a.call("set gid", unix.SYS_SETRESGID, int(id.gid), int(id.gid), int(id.gid))
	a.call("set uid", unix.SYS_SETRESUID, int(id.uid), int(id.uid), int(id.uid))
}

// capabilities adds the steps after the ids: sets, no_new_privs.
func (a *assembly) capabilities(id *identity, where place) {
	if id.noNewPrivs {
		a.call("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	if where == filterEarly {
		// A change of uid has emptied the effective set; raise what
		// PR_SET_KEEPCAPS left, load, and go down to the spec's sets.
		a.capset(linux.CapSet(1)<<unix.CAP_SYS_ADMIN|id.permitted, linux.CapSet(1)<<unix.CAP_SYS_ADMIN|id.effective, id.inherit)
		a.seccomp(id)
	}
	permitted, effective := id.permitted, id.effective
	if where == filterKeep {
		permitted |= 1 << unix.CAP_SYS_ADMIN
		effective |= 1 << unix.CAP_SYS_ADMIN
	}
	a.capset(permitted, effective, id.inherit)
	a.call("clear ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	for n := range 64 {
		if id.ambient.Has(n) {
			a.call("raise ambient capability", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, n, 0, 0)
		}
	}
}

func (a *assembly) capset(permitted, effective, inheritable linux.CapSet) {
	low := func(s linux.CapSet) uint64 { return uint64(s) & 0xffffffff }
	high := func(s linux.CapSet) uint64 { return uint64(s) >> 32 }
	a.call("set capabilities", unix.SYS_CAPSET, a.words(unix.LINUX_CAPABILITY_VERSION_3), a.words(
		low(effective)|low(permitted)<<32,
		low(inheritable)|high(effective)<<32,
		high(permitted)|high(inheritable)<<32,
	))
}

// seccomp loads the filter; it lies in the program, which stays mapped.
func (a *assembly) seccomp(id *identity) {
	prog := a.bytes(id.filter)
	fprog := a.words(uint64(len(id.filter)/8), uint64(prog)) // struct sock_fprog
	a.form.Relocs = append(a.form.Relocs, runner.Reloc{Off: uint64(fprog) + 8, Kind: runner.KindData})
	a.call("load seccomp filter", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, int(id.flags), fprog)
}

// defaultPath is searched when a process has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// maxPathDirs bounds the directories of PATH that are tried; an image can say anything.
const maxPathDirs = 64

// exec adds the execve steps: one, or one for each directory of the container's
// PATH when the name has no slash. Of the failed ones the most telling errno is
// reported (telling, in start.go).
func (a *assembly) exec(p *specs.Process) error {
	if len(p.Args) == 0 || p.Args[0] == "" {
		return fmt.Errorf("%w: no command", ErrInvalid)
	}
	for _, s := range append(append([]string{}, p.Args...), p.Env...) {
		if strings.ContainsRune(s, 0) {
			return fmt.Errorf("%w: a NUL byte in an argument or the environment", ErrInvalid)
		}
	}
	argv, env := a.pointers(p.Args), a.pointers(p.Env)
	a.about(p.Args[0])
	for _, file := range candidates(p) {
		a.call("exec", unix.SYS_EXECVE, file, argv, env)
		a.tolerate(unix.ENOENT, unix.EACCES, unix.ENOTDIR)
		a.last().Flags |= runner.FlagExec | runner.FlagNote
	}
	return nil
}

func candidates(p *specs.Process) []string {
	name := p.Args[0]
	if strings.Contains(name, "/") {
		return []string{name}
	}
	path := defaultPath
	for _, e := range p.Env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v
		}
	}
	var files []string
	for dir := range strings.SplitSeq(path, ":") {
		if dir == "" {
			dir = "."
		}
		if files = append(files, strings.TrimSuffix(dir, "/")+"/"+name); len(files) == maxPathDirs {
			break
		}
	}
	return files
}
