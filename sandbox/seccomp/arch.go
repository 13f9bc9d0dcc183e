package seccomp

import (
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
	numbers *arch.Info
	mux     bool // has socketcall(2) and ipc(2)
}

// families gives, by GOARCH, the ABIs that a kernel of that machine offers, its
// own first; x32 directly follows x86_64.
var families = map[string][]*abi{
	"amd64": {
		{name: specs.ArchX86_64, audit: auditX86_64, wide: true, numbers: arch.X86_64},
		{name: specs.ArchX32, audit: auditX86_64, bit: x32Bit, wide: true, numbers: arch.X32},
		{name: specs.ArchX86, audit: auditX86, numbers: arch.I386, mux: true},
	},
	"arm64": {
		{name: specs.ArchAARCH64, audit: auditAARCH64, wide: true, numbers: arch.AARCH64},
		{name: specs.ArchARM, audit: auditARM, numbers: arch.ARM},
	},
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

// newCalls are newer than the tables of the library (Linux 6.15); since 5.1 a
// new call has the same number everywhere.
var newCalls = map[string]uint32{
	"file_getattr":     468,
	"file_setattr":     469,
	"listns":           470,
	"rseq_slice_yield": 471,
}

// number gives the number of a system call as the kernel shows it to a filter.
func (a *abi) number(name string) (uint32, bool) {
	if nr, ok := a.numbers.SyscallNames[name]; ok {
		return uint32(nr) | a.bit, true
	}
	nr, ok := newCalls[name]
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
