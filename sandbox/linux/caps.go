package linux

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrCapability: no capability of this kernel has that name.
var ErrCapability = errors.New("unknown capability")

// capNames are the capabilities by number (capability.h).
var capNames = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}

// CapSet is a set of capabilities, bit n for number n.
type CapSet uint64

// Has tells whether a number is in the set.
func (s CapSet) Has(n int) bool { return s&(1<<n) != 0 }

// Names gives the set as OCI specs write it, in the order of the numbers.
func (s CapSet) Names() []string {
	var names []string
	for n, name := range capNames {
		if s.Has(n) {
			names = append(names, "CAP_"+name)
		}
	}
	return names
}

// ParseCaps reads names as OCI specs write them. ErrCapability names one that is unknown.
func ParseCaps(names []string) (CapSet, error) {
	var s CapSet
next:
	for _, name := range names {
		for n, known := range capNames {
			if strings.TrimPrefix(name, "CAP_") == known {
				s |= 1 << n
				continue next
			}
		}
		return 0, fmt.Errorf("%w %q", ErrCapability, name)
	}
	return s, nil
}

// HeldCaps gives the permitted capabilities of this process, which is what
// "privileged" and "ALL" can mean here.
func HeldCaps() (CapSet, error) {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if err := unix.Capget(&h, &d[0]); err != nil {
		return 0, fmt.Errorf("read capabilities: %w", err)
	}
	return CapSet(d[0].Permitted) | CapSet(d[1].Permitted)<<32, nil
}

// LastCap is the highest capability that this kernel knows; every one up to it
// has to be dropped from a bounding set, whether this program knows it or not.
var LastCap = sync.OnceValue(func() int {
	last := 0
	for n := range 64 {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); err != nil {
			break
		}
		last = n
	}
	return last
})
