package oci

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// allCapabilities are the kernel's, by number (linux/capability.h).
var allCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
	"CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE",
	"CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK",
	"CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
	"CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE",
	"CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG",
	"CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
	"CAP_CHECKPOINT_RESTORE",
}

// defaultCapabilities are what a container has that asks for nothing, the same
// set as containerd's.
var defaultCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD",
	"CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP",
	"CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// capSet is a set of capability names.
type capSet map[string]bool

// sorted lists the set by capability number.
func (s capSet) sorted() []string {
	out := make([]string, 0, len(s))
	for _, c := range allCapabilities {
		if s[c] {
			out = append(out, c)
		}
	}
	return out
}

func (s capSet) add(names []string) {
	for _, n := range names {
		s[n] = true
	}
}

// capabilitiesOf gives the five sets. Order of rules: add ALL, drop ALL, then
// each add, each ambient, then each drop; so "drop ALL, add X" leaves X and
// "add ALL, drop X" leaves all but X. A set of the request's own or ALL is cut
// to what the runtime holds; one name that it does not hold is an error.
//
// Inheritable and ambient are empty unless ambient ones are asked for: anything
// in the inheritable set comes back through files with capabilities
// (CVE-2022-24769). The other sets are given for every user; for one that is
// not root the kernel empties permitted and effective at execve, and what stays
// is the bounding set.
func capabilitiesOf(sc *runtimeapi.LinuxContainerSecurityContext, host Host) (*specs.LinuxCapabilities, error) {
	held := capSet{}
	held.add(host.Capabilities)
	if sc.GetPrivileged() {
		all := held.sorted()
		ambient, err := ambientOf(sc.GetCapabilities(), held)
		if err != nil {
			return nil, err
		}
		return &specs.LinuxCapabilities{
			Bounding: all, Effective: all, Permitted: all, Inheritable: ambient, Ambient: ambient,
		}, nil
	}
	req := sc.GetCapabilities()
	set, err := addAndDrop(req, held)
	if err != nil {
		return nil, err
	}
	ambient, err := ambientOf(req, set)
	if err != nil {
		return nil, err
	}
	list := set.sorted()
	return &specs.LinuxCapabilities{
		Bounding: list, Effective: list, Permitted: list, Inheritable: ambient, Ambient: ambient,
	}, nil
}

func addAndDrop(req *runtimeapi.Capability, held capSet) (capSet, error) {
	add, addAll, err := capNames("add_capabilities", req.GetAddCapabilities())
	if err != nil {
		return nil, err
	}
	drop, dropAll, err := capNames("drop_capabilities", req.GetDropCapabilities())
	if err != nil {
		return nil, err
	}
	ambient, _, err := capNames("add_ambient_capabilities", req.GetAddAmbientCapabilities())
	if err != nil {
		return nil, err
	}
	set := capSet{}
	switch {
	case dropAll:
	case addAll:
		set.add(held.sorted())
	default:
		for _, c := range defaultCapabilities {
			if held[c] {
				set[c] = true
			}
		}
	}
	for _, c := range slices.Concat(add, ambient) {
		if !held[c] && !slices.Contains(drop, c) {
			return nil, invalid("capability %q cannot be given: the runtime does not hold it", c)
		}
		set[c] = true
	}
	for _, c := range drop {
		delete(set, c)
	}
	return set, nil
}

// ambientOf gives the ambient set: what is asked for and not dropped. ALL means
// all that the container has.
func ambientOf(req *runtimeapi.Capability, has capSet) ([]string, error) {
	names, all, err := capNames("add_ambient_capabilities", req.GetAddAmbientCapabilities())
	if err != nil {
		return nil, err
	}
	if all {
		return has.sorted(), nil
	}
	set := capSet{}
	for _, c := range names {
		if has[c] {
			set[c] = true
		}
	}
	if len(set) == 0 {
		return nil, nil
	}
	return set.sorted(), nil
}

// capNames gives full names for names with or without CAP_, in any case, and
// whether ALL is among them.
func capNames(field string, names []string) (out []string, all bool, err error) {
	for _, n := range names {
		c := strings.TrimPrefix(strings.ToUpper(n), "CAP_")
		switch {
		case c == "ALL":
			all = true
		case slices.Contains(allCapabilities, "CAP_"+c):
			out = append(out, "CAP_"+c)
		default:
			return nil, false, invalid("%s: unknown capability %q", field, n)
		}
	}
	return out, all, nil
}
