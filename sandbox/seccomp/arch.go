package seccomp

import (
	"maps"

	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// AUDIT_ARCH_* of linux/audit.h.
const (
	auditX86_64  uint32 = 0xc000003e
	auditX86     uint32 = 0x40000003
	auditAARCH64 uint32 = 0xc00000b7
	auditARM     uint32 = 0x40000028
)

// abi is one way to make system calls.
type abi struct {
	name    specs.Arch
	audit   uint32
	bit     uint32 // set in every number
	wide    bool   // 64-bit arguments
	numbers map[string]uint32
	mux     bool // has socketcall(2) and ipc(2)
}

// families gives, by GOARCH, the ABIs that a kernel of that machine offers, its
// own first; x32 directly follows x86_64. Like libseccomp, arguments of x32 are
// compared as 32 bits wide.
var families = map[string][]*abi{
	"amd64": {
		{name: specs.ArchX86_64, audit: auditX86_64, wide: true, numbers: numbersOf(arch.X86_64)},
		{name: specs.ArchX32, audit: auditX86_64, bit: x32Bit, numbers: numbersOfX32()},
		{name: specs.ArchX86, audit: auditX86, numbers: numbersOf(arch.I386), mux: true},
	},
	"arm64": {
		{name: specs.ArchAARCH64, audit: auditAARCH64, wide: true, numbers: numbersOfARM64()},
		{name: specs.ArchARM, audit: auditARM, numbers: numbersOf(arch.ARM)},
	},
}

// newCalls are newer than the tables of the library (Linux 6.15); since 5.1 a
// new call has the same number everywhere.
var newCalls = map[string]uint32{
	"file_getattr":     468,
	"file_setattr":     469,
	"listns":           470,
	"rseq_slice_yield": 471,
}

// numbersOf turns a table of the library round. Where a name has two numbers
// the higher is meant; the library's own reverse table takes either, by chance.
func numbersOf(info *arch.Info) map[string]uint32 {
	out := maps.Clone(newCalls)
	for nr, name := range info.SyscallNumbers {
		out[name] = max(out[name], uint32(nr))
	}
	return out
}

// numbersOfX32 has for calls with structures of their own the numbers from 512
// up, and leaves out what the kernel offers to 64-bit programs only.
func numbersOfX32() map[string]uint32 {
	out := numbersOf(arch.X32)
	for _, name := range []string{
		"_sysctl", "create_module", "epoll_ctl_old", "epoll_wait_old", "get_kernel_syms", "get_thread_area",
		"map_shadow_stack", "nfsservctl", "query_module", "set_thread_area", "uselib", "vserver",
	} {
		delete(out, name)
	}
	return out
}

// numbersOfARM64 corrects two things in the library's table: the kernel's
// headers call number 79 newfstatat, as profiles do, and numbers 403 to 423
// are the *_time64 calls of 32-bit machines.
func numbersOfARM64() map[string]uint32 {
	out := numbersOf(arch.AARCH64)
	maps.DeleteFunc(out, func(_ string, nr uint32) bool { return 403 <= nr && nr <= 423 })
	delete(out, "fstatat")
	out["newfstatat"] = 79
	return out
}

// knownArches are the names that a profile may use. Those outside the
// machine's family can never be seen by its kernel.
var knownArches = []specs.Arch{
	specs.ArchX86, specs.ArchX86_64, specs.ArchX32, specs.ArchARM, specs.ArchAARCH64,
	specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32,
	specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32,
	specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchS390, specs.ArchS390X,
	specs.ArchPARISC, specs.ArchPARISC64, specs.ArchRISCV64, specs.ArchLOONGARCH64,
	specs.ArchM68K, specs.ArchSH, specs.ArchSHEB,
}

// number gives the number of a system call as the kernel shows it to a filter.
func (a *abi) number(name string) (uint32, bool) {
	nr, ok := a.numbers[name]
	return nr | a.bit, ok
}

// Numbers of the two 32-bit x86 calls that stand for many.
const (
	x86Socketcall = 102
	x86IPC        = 117
)

// multiplexed gives the call and its first argument through which an old
// 32-bit x86 program reaches a call that a rule names: such programs are meant
// by the rule too.
func (a *abi) multiplexed(name string) (nr, first uint32, ok bool) {
	if !a.mux {
		return 0, 0, false
	}
	if n, ok := socketCalls[name]; ok {
		return x86Socketcall, n, true
	}
	if n, ok := ipcCalls[name]; ok {
		return x86IPC, n, true
	}
	return 0, 0, false
}

// socketCalls are the SYS_* values of linux/net.h.
var socketCalls = map[string]uint32{
	"socket": 1, "bind": 2, "connect": 3, "listen": 4, "accept": 5,
	"getsockname": 6, "getpeername": 7, "socketpair": 8, "send": 9, "recv": 10,
	"sendto": 11, "recvfrom": 12, "shutdown": 13, "setsockopt": 14, "getsockopt": 15,
	"sendmsg": 16, "recvmsg": 17, "accept4": 18, "recvmmsg": 19, "sendmmsg": 20,
}

// ipcCalls are the values of linux/ipc.h.
var ipcCalls = map[string]uint32{
	"semop": 1, "semget": 2, "semctl": 3, "semtimedop": 4,
	"msgsnd": 11, "msgrcv": 12, "msgget": 13, "msgctl": 14,
	"shmat": 21, "shmdt": 22, "shmget": 23, "shmctl": 24,
}
