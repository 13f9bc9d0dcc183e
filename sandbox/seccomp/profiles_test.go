package seccomp

import (
	"runtime"
	"slices"
	"testing"

	mobyseccomp "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func errno(n uint) *uint { return &n }

func arg(index uint, op specs.LinuxSeccompOperator, value uint64, two ...uint64) specs.LinuxSeccompArg {
	a := specs.LinuxSeccompArg{Index: index, Op: op, Value: value}
	if len(two) > 0 {
		a.ValueTwo = two[0]
	}
	return a
}

func entry(action specs.LinuxSeccompAction, names []string, args ...specs.LinuxSeccompArg) specs.LinuxSyscall {
	return specs.LinuxSyscall{Names: names, Action: action, Args: args}
}

var x86Arches = []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}

// mobyDefault is the default profile for containers with these capabilities.
func mobyDefault(t testing.TB, caps ...string) *specs.LinuxSeccomp {
	t.Helper()
	s, err := mobyseccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{
		Capabilities: &specs.LinuxCapabilities{Bounding: caps},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOARCH == "amd64" && !slices.Contains(s.Architectures, specs.ArchX32) {
		t.Fatal("the default profile lost x32")
	}
	return s
}

// profiles are compared with the reference and with libseccomp.
func profiles(t testing.TB) map[string]*specs.LinuxSeccomp {
	many := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: x86Arches}
	for i := range uint64(400) {
		many.Syscalls = append(many.Syscalls, entry(specs.ActAllow, []string{"ioctl"}, arg(1, specs.OpEqualTo, 0x5400+7*i)))
	}
	many.Syscalls = append(many.Syscalls, entry(specs.ActAllow, []string{"read", "zzz_not_there", "openat2"}))
	return map[string]*specs.LinuxSeccomp{
		"moby":       mobyDefault(t),
		"moby-admin": mobyDefault(t, "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_BPF"),
		"many":       many,
		"empty":      {DefaultAction: specs.ActErrno, DefaultErrnoRet: errno(13), Architectures: x86Arches},
		"deny": {DefaultAction: specs.ActAllow, Architectures: x86Arches, Syscalls: []specs.LinuxSyscall{
			entry(specs.ActErrno, []string{"ptrace", "kexec_load"}),
			entry(specs.ActKillProcess, []string{"bpf"}),
			entry(specs.ActTrap, []string{"swapon"}),
			entry(specs.ActLog, []string{"mkdir"}),
			{Names: []string{"rmdir"}, Action: specs.ActTrace, ErrnoRet: errno(7)},
			{Names: []string{"chroot"}, Action: specs.ActErrno, ErrnoRet: errno(0)},
		}},
		"operators": {DefaultAction: specs.ActKillProcess, Architectures: x86Arches, Syscalls: []specs.LinuxSyscall{
			entry(specs.ActAllow, []string{"read"}, arg(0, specs.OpEqualTo, 1<<33|5)),
			entry(specs.ActAllow, []string{"write"}, arg(2, specs.OpNotEqual, 1<<33|5)),
			entry(specs.ActAllow, []string{"open"}, arg(1, specs.OpGreaterThan, 1<<33|5)),
			entry(specs.ActAllow, []string{"close"}, arg(5, specs.OpGreaterEqual, 1<<33|5)),
			entry(specs.ActAllow, []string{"stat"}, arg(3, specs.OpLessThan, 1<<33|5)),
			entry(specs.ActAllow, []string{"fstat"}, arg(4, specs.OpLessEqual, 1<<33|5)),
			entry(specs.ActAllow, []string{"lstat"}, arg(0, specs.OpMaskedEqual, 0xf_0000_00ff, 0x2_0000_0005)),
			entry(specs.ActAllow, []string{"poll"}, arg(0, specs.OpMaskedEqual, 0xff, 0x105)),
			entry(specs.ActAllow, []string{"lseek"}, arg(0, specs.OpMaskedEqual, 0xf_0000_0000, 0x2_0000_0000)),
			entry(specs.ActAllow, []string{"mmap"}, arg(0, specs.OpMaskedEqual, 0, 9)),
			entry(specs.ActAllow, []string{"socket"}, arg(0, specs.OpEqualTo, 1), arg(1, specs.OpEqualTo, 5), arg(2, specs.OpNotEqual, 3)),
		}},
		"same-argument": {DefaultAction: specs.ActErrno, Architectures: x86Arches, Syscalls: []specs.LinuxSyscall{
			entry(specs.ActAllow, []string{"socket"}, arg(0, specs.OpNotEqual, 38), arg(0, specs.OpNotEqual, 40)),
			entry(specs.ActAllow, []string{"personality"}, arg(0, specs.OpGreaterThan, 10), arg(0, specs.OpLessThan, 20), arg(1, specs.OpEqualTo, 3)),
		}},
		"unconditional-wins": {DefaultAction: specs.ActErrno, Architectures: x86Arches, Syscalls: []specs.LinuxSyscall{
			entry(specs.ActAllow, []string{"clone"}, arg(0, specs.OpEqualTo, 5)),
			entry(specs.ActTrap, []string{"clone"}),
			entry(specs.ActLog, []string{"clone"}),
			entry(specs.ActErrno, []string{"clone3"}),
			entry(specs.ActAllow, []string{"clone3"}, arg(0, specs.OpEqualTo, 5)),
		}},
		"x86-only": {DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchX86}, Syscalls: []specs.LinuxSyscall{
			entry(specs.ActAllow, []string{"socket", "accept", "send", "recv", "recvmmsg", "sendmmsg", "semop", "semtimedop", "shmat"}),
			entry(specs.ActAllow, []string{"connect"}, arg(0, specs.OpEqualTo, 3), arg(2, specs.OpLessThan, 100)),
		}},
		"native-only": {DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
			entry(specs.ActAllow, []string{"read", "write"}),
		}},
		"enosys-default": {DefaultAction: specs.ActErrno, DefaultErrnoRet: errno(38), Architectures: x86Arches, Syscalls: []specs.LinuxSyscall{
			entry(specs.ActAllow, []string{"read", "write"}),
		}},
	}
}
