package seccomp

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// reference evaluates a profile straight from its JSON form, for one ABI and
// for rules whose order cannot matter: it is what the compiled filter must say.
func reference(s *specs.LinuxSeccomp, a *abi, nr uint32, args [6]uint64) uint32 {
	fallback, _ := verdict(s.DefaultAction, s.DefaultErrnoRet)
	var newest uint32
	result, conditional := fallback, fallback
	always := false
	for _, call := range s.Syscalls {
		v, _ := verdict(call.Action, call.ErrnoRet)
		for _, name := range call.Names {
			own, direct := a.number(name)
			if direct && own > newest {
				newest = own
			}
			if v == fallback {
				continue
			}
			if direct && own == nr {
				switch {
				case len(call.Args) == 0 && !always:
					always, result = true, v
				case len(call.Args) > 0 && holds(call.Args, a.wide, args):
					conditional = v
				}
			}
			if m, first, ok := a.multiplexed(name); ok && m == nr && uint32(args[0]) == first &&
				holds(slices.DeleteFunc(slices.Clone(call.Args), func(a specs.LinuxSeccompArg) bool { return a.Index == 0 }), a.wide, args) {
				conditional = v
			}
		}
	}
	closed := !slices.Contains([]specs.LinuxSeccompAction{specs.ActAllow, specs.ActLog, specs.ActTrace}, s.DefaultAction)
	switch {
	case closed && newest > 0 && nr > newest:
		return actENOSYS
	case always:
		return result
	}
	return conditional
}

func holds(args []specs.LinuxSeccompArg, wide bool, values [6]uint64) bool {
	count := make(map[uint]int)
	for _, a := range args {
		count[a.Index]++
	}
	repeated := false
	for _, n := range count {
		repeated = repeated || n > 1
	}
	all, some := true, false
	for _, a := range args {
		if compareArg(a, wide, values[a.Index]) {
			some = true
		} else {
			all = false
		}
	}
	if repeated {
		return some
	}
	return all
}

func compareArg(a specs.LinuxSeccompArg, wide bool, v uint64) bool {
	value, two := a.Value, a.ValueTwo
	if !wide {
		v, value, two = uint64(uint32(v)), uint64(uint32(value)), uint64(uint32(two))
	}
	switch a.Op {
	case specs.OpEqualTo:
		return v == value
	case specs.OpNotEqual:
		return v != value
	case specs.OpGreaterThan:
		return v > value
	case specs.OpGreaterEqual:
		return v >= value
	case specs.OpLessThan:
		return v < value
	case specs.OpLessEqual:
		return v <= value
	case specs.OpMaskedEqual:
		return v&value == two&value
	}
	panic("operator")
}
