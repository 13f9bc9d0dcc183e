package seccomp

import (
	"fmt"
	"slices"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Verdicts: SECCOMP_RET_* of linux/seccomp.h.
const (
	actKillThread  uint32 = 0
	actKillProcess uint32 = 0x80000000
	actTrap        uint32 = 0x00030000
	actErrno       uint32 = 0x00050000
	actTrace       uint32 = 0x7ff00000
	actLog         uint32 = 0x7ffc0000
	actAllow       uint32 = 0x7fff0000
	actENOSYS             = actErrno | uint32(syscall.ENOSYS)
)

// Flags of seccomp(2) that a profile may ask for.
const (
	flagLog       = 1 << 1
	flagSpecAllow = 1 << 2
)

// maxErrno is the highest error number that a system call can return.
const maxErrno = 4095

// flagTsync is refused by no runtime and needed by none: the process that
// installs the filter has one thread.
const flagTsync specs.LinuxSeccompFlag = "SECCOMP_FILTER_FLAG_TSYNC"

// profile is a checked profile, not yet tied to an architecture.
type profile struct {
	fallback uint32
	closed   bool // unnamed calls are refused, so those too new to be named get ENOSYS
	rules    []profileRule
}

// profileRule is one system call of one rule.
type profileRule struct {
	name       string
	verdict    uint32
	conditions []condition // by argument, at most one each
}

func flagBits(s *specs.LinuxSeccomp) (uint, error) {
	var bits uint
	for _, f := range s.Flags {
		switch f {
		case flagTsync:
		case specs.LinuxSeccompFlagLog:
			bits |= flagLog
		case specs.LinuxSeccompFlagSpecAllow:
			bits |= flagSpecAllow
		default:
			return 0, fmt.Errorf("unknown flag %q", f)
		}
	}
	return bits, nil
}

func parse(s *specs.LinuxSeccomp) (*profile, error) {
	if s.ListenerPath != "" || s.ListenerMetadata != "" {
		return nil, fmt.Errorf("listener %q: user notification is not supported", s.ListenerPath)
	}
	fallback, err := verdict(s.DefaultAction, s.DefaultErrnoRet)
	if err != nil {
		return nil, fmt.Errorf("default action: %w", err)
	}
	p := &profile{fallback: fallback}
	switch fallback & 0xffff0000 {
	case actAllow, actLog, actTrace:
		// A tracer is expected to know new calls by itself.
	default:
		p.closed = true
	}
	for i, call := range s.Syscalls {
		if err := p.add(call); err != nil {
			return nil, fmt.Errorf("syscalls[%d]: %w", i, err)
		}
	}
	return p, nil
}

func (p *profile) add(call specs.LinuxSyscall) error {
	v, err := verdict(call.Action, call.ErrnoRet)
	if err != nil {
		return err
	}
	conditions, err := conditionsOf(call.Args)
	if err != nil {
		return err
	}
	if len(call.Names) == 0 {
		return fmt.Errorf("no name")
	}
	for _, name := range call.Names {
		if name == "" {
			return fmt.Errorf("empty name")
		}
		// Names that no table has are left out: a profile may name what a
		// newer kernel or another architecture has.
		for _, c := range alternatives(conditions) {
			p.rules = append(p.rules, profileRule{name: name, verdict: v, conditions: c})
		}
	}
	return nil
}

// alternatives gives the condition sets that a rule stands for. Conditions
// hold together, but when one argument appears twice each stands for itself:
// two "not equal" on one argument therefore allow everything. Profiles are
// written against runc, which does the same; a range needs separate rules.
func alternatives(conditions []condition) [][]condition {
	var seen [6]bool
	for _, c := range conditions {
		if seen[c.arg] {
			out := make([][]condition, 0, len(conditions))
			for i := range conditions {
				out = append(out, conditions[i:i+1:i+1])
			}
			return out
		}
		seen[c.arg] = true
	}
	slices.SortFunc(conditions, func(a, b condition) int { return int(a.arg) - int(b.arg) })
	return [][]condition{conditions}
}

func conditionsOf(args []specs.LinuxSeccompArg) ([]condition, error) {
	out := make([]condition, 0, len(args))
	for i, a := range args {
		if a.Index > 5 {
			return nil, fmt.Errorf("args[%d]: index %d, a system call has 6 arguments", i, a.Index)
		}
		c := condition{arg: a.Index, mask: ^uint64(0), value: a.Value}
		switch a.Op {
		case specs.OpEqualTo:
			c.op = opEqual
		case specs.OpNotEqual:
			c.op, c.negated = opEqual, true
		case specs.OpGreaterThan:
			c.op = opMore
		case specs.OpGreaterEqual:
			c.op = opLeast
		case specs.OpLessThan:
			c.op, c.negated = opLeast, true
		case specs.OpLessEqual:
			c.op, c.negated = opMore, true
		case specs.OpMaskedEqual:
			c.op, c.mask, c.value = opEqual, a.Value, a.ValueTwo
		default:
			return nil, fmt.Errorf("args[%d]: unknown operator %q", i, a.Op)
		}
		out = append(out, c)
	}
	return out, nil
}

// verdict gives the SECCOMP_RET_* value of an action. The default errno is
// EPERM, also where the profile has another for its default action.
func verdict(action specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	data := uint(syscall.EPERM)
	if errno != nil {
		data = *errno
	}
	switch action {
	case specs.ActErrno:
		if data > maxErrno {
			return 0, fmt.Errorf("errno %d, the highest is %d", data, maxErrno)
		}
		return actErrno | uint32(data), nil
	case specs.ActTrace:
		if data > 0xffff {
			return 0, fmt.Errorf("trace message %d, the highest is %d", data, 0xffff)
		}
		return actTrace | uint32(data), nil
	}
	if errno != nil {
		return 0, fmt.Errorf("action %q takes no errno", action)
	}
	switch action {
	case specs.ActAllow:
		return actAllow, nil
	case specs.ActKill, specs.ActKillThread:
		return actKillThread, nil
	case specs.ActKillProcess:
		return actKillProcess, nil
	case specs.ActTrap:
		return actTrap, nil
	case specs.ActLog:
		return actLog, nil
	case specs.ActNotify:
		return 0, fmt.Errorf("action %q: user notification is not supported", action)
	}
	return 0, fmt.Errorf("unknown action %q", action)
}
