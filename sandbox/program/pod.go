package program

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
	"slipway/sandbox/program/runner"
)

// Pod builds the program that makes a pod's namespaces. Its child lives for a
// moment: it makes them, sets what is set from inside, offers a descriptor of
// each (Child.Offered, in the order of Offers), and ends.
type Pod struct {
	Net, IPC, UTS, User bool
	UIDs, GIDs          []specs.LinuxIDMapping // of User
	// Into is a descriptor of the user namespace that the others are to belong
	// to; nil: the host's, or with User the new one.
	Into                 *int
	Hostname, Domainname string // set only with UTS
	// Sysctls by dotted name, with slashes where a part has a dot in it. Only
	// those of a namespace that is made here.
	Sysctls map[string]string
}

// Offers says which namespaces the child offers, in their order.
func (p *Pod) Offers() []specs.LinuxNamespaceType {
	var list []specs.LinuxNamespaceType
	for _, n := range p.kinds() {
		list = append(list, n.kind)
	}
	return list
}

type podNamespace struct {
	kind specs.LinuxNamespaceType
	file string // in /proc/self/ns
	flag uint64
}

func (p *Pod) kinds() []podNamespace {
	var list []podNamespace
	for _, n := range []struct {
		on bool
		podNamespace
	}{
		{p.User, podNamespace{specs.UserNamespace, "user", unix.CLONE_NEWUSER}},
		{p.Net, podNamespace{specs.NetworkNamespace, "net", unix.CLONE_NEWNET}},
		{p.IPC, podNamespace{specs.IPCNamespace, "ipc", unix.CLONE_NEWIPC}},
		{p.UTS, podNamespace{specs.UTSNamespace, "uts", unix.CLONE_NEWUTS}},
	} {
		if n.on {
			list = append(list, n.podNamespace)
		}
	}
	return list
}

// Build writes the program. Errors: ErrInvalid for a sysctl or a map, or what
// the system said.
func (p *Pod) Build(_ context.Context) (*Program, error) {
	a := newAssembly()
	prog := newProgram(a)
	if err := p.build(a); err != nil {
		_ = prog.Close()
		return nil, err
	}
	return prog, nil
}

func (p *Pod) build(a *assembly) error {
	kinds := p.kinds()
	if len(kinds) == 0 {
		return fmt.Errorf("%w: no namespace to make", ErrInvalid)
	}
	proc, err := linux.Proc()
	if err != nil {
		return err
	}
	a.own(proc)
	flags := uint64(0)
	for _, n := range kinds {
		flags |= n.flag
	}
	if p.Into == nil {
		a.form.Clone |= flags
	}
	a.signals()
	if p.Into != nil {
		a.enterUsers(*p.Into)
		a.call("make namespaces", unix.SYS_UNSHARE, flags)
	}
	if p.User {
		if err := p.mapIDs(a, proc); err != nil {
			return err
		}
	}
	if err := p.names(a); err != nil {
		return err
	}
	if p.Net {
		loopbackUp(a)
	}
	if err := p.sysctls(a, proc); err != nil {
		return err
	}
	for _, n := range kinds {
		a.about("").call("open "+n.file+" namespace", unix.SYS_OPENAT, fd(proc), "self/ns/"+n.file, unix.O_RDONLY|unix.O_CLOEXEC)
		a.offer()
	}
	a.wait("offer namespaces", runner.Service{Kind: runner.ServiceFetch})
	a.call("end", unix.SYS_EXIT_GROUP, 0)
	return nil
}

// mapIDs waits until the keeper has written the maps, then becomes root inside.
func (p *Pod) mapIDs(a *assembly, proc int) error {
	uid, err := idMap(p.UIDs)
	if err != nil {
		return err
	}
	gid, err := idMap(p.GIDs)
	if err != nil {
		return err
	}
	a.wait("map ids", runner.Service{Kind: runner.ServiceIDMaps, Fd: a.pass(proc), UID: uid, GID: gid})
	a.call("set groups", unix.SYS_SETGROUPS, 0, 0)
	a.call("set gid", unix.SYS_SETRESGID, 0, 0, 0)
	a.call("set uid", unix.SYS_SETRESUID, 0, 0, 0)
	return nil
}

func idMap(list []specs.LinuxIDMapping) (string, error) {
	var b strings.Builder
	for _, m := range list {
		if m.Size == 0 {
			return "", fmt.Errorf("%w: an id mapping of size 0", ErrInvalid)
		}
		fmt.Fprintf(&b, "%d %d %d\n", m.ContainerID, m.HostID, m.Size)
	}
	if b.Len() == 0 || b.Len() > 4096 {
		return "", fmt.Errorf("%w: %d id mappings", ErrInvalid, len(list))
	}
	return b.String(), nil
}

func (p *Pod) names(a *assembly) error {
	const longest = 64 // __NEW_UTS_LEN
	if !p.UTS {
		return nil
	}
	for _, n := range []struct {
		what, name string
		nr         int
	}{{"host name", p.Hostname, unix.SYS_SETHOSTNAME}, {"domain name", p.Domainname, unix.SYS_SETDOMAINNAME}} {
		if len(n.name) > longest {
			return fmt.Errorf("%w: %s %q is longer than %d bytes", ErrInvalid, n.what, n.name, longest)
		}
		if n.name != "" {
			a.about("").call("set "+n.what, n.nr, n.name, len(n.name))
		}
	}
	return nil
}

// loopbackUp brings lo up, as no plugin has to: an ifreq with IFF_UP. The kernel
// gives it its addresses.
func loopbackUp(a *assembly) {
	ifreq := make([]byte, 40)
	copy(ifreq, "lo")
	binary.NativeEndian.PutUint16(ifreq[16:], unix.IFF_UP)
	a.about("lo")
	s := a.call("open socket", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	a.call("bring interface up", unix.SYS_IOCTL, s, unix.SIOCSIFFLAGS, ifreq)
}

// sysctls writes through the daemon's /proc/sys: for those of a namespace it is
// the writer's that counts, and only those are let through (CVE-2022-0811).
func (p *Pod) sysctls(a *assembly, proc int) error {
	names := make([]string, 0, len(p.Sysctls))
	for name := range p.Sysctls {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		file, err := p.sysctlFile(name)
		if err != nil {
			return err
		}
		value := p.Sysctls[name]
		if value == "" || len(value) > 4096 || strings.ContainsAny(value, "\x00\n\r") {
			return fmt.Errorf("%w: value of sysctl %q", ErrInvalid, name)
		}
		a.about(name)
		how := a.words(unix.O_WRONLY|unix.O_CLOEXEC, 0, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV)
		f := a.call("open sysctl", unix.SYS_OPENAT2, fd(proc), "sys/"+file, how, 24)
		a.call("set sysctl", unix.SYS_WRITE, f, value, len(value))
	}
	return nil
}

// sysctlFile checks a name and gives its file below /proc/sys. A sysctl that is
// not of a namespace made here would be the host's.
func (p *Pod) sysctlFile(name string) (string, error) {
	file := name
	if !strings.Contains(name, "/") {
		file = strings.ReplaceAll(name, ".", "/")
	}
	for part := range strings.SplitSeq(file, "/") {
		if part == "" || part == "." || part == ".." || strings.Trim(part, sysctlChars) != "" {
			return "", fmt.Errorf("%w: sysctl %q", ErrInvalid, name)
		}
	}
	ipc := strings.HasPrefix(file, "kernel/shm") || strings.HasPrefix(file, "kernel/msg") ||
		file == "kernel/sem" || strings.HasPrefix(file, "fs/mqueue/")
	switch {
	case strings.HasPrefix(file, "net/") && p.Net, ipc && p.IPC:
		return file, nil
	}
	return "", fmt.Errorf("%w: sysctl %q is not of a namespace of this pod", ErrInvalid, name)
}

const sysctlChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."
