package seccomp

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// policy is what a profile says about one architecture as the kernel names it.
type policy struct {
	audit    uint32    // AUDIT_ARCH_*
	segments []segment // cover every number from 0, in order
}

// segment is a run of system call numbers with one verdict, up to the next
// segment's first.
type segment struct {
	first   uint32
	verdict uint32         // SECCOMP_RET_* with its data, when args is nil
	args    *argumentRules // else the verdict depends on arguments
}

// argumentRules are tried in order; the first whose conditions all hold wins.
type argumentRules struct {
	rules     []rule
	otherwise uint32
	wide      bool // arguments have 64 bits
}

type rule struct {
	conditions []condition // by argument
	verdict    uint32
}

// condition is arg&mask OP value, or its opposite.
type condition struct {
	arg         uint
	op          uint16 // opEqual, opMore, opLeast
	negated     bool
	mask, value uint64
}

// x32Bit marks the numbers of the x32 ABI, which shares x86_64's AUDIT_ARCH.
const x32Bit = 1 << 30

// policiesOf translates a profile for each architecture that a machine of this
// GOARCH can show to a filter, its own first. Architectures that such a machine
// never shows are checked by name and left out.
func policiesOf(s *specs.LinuxSeccomp, goarch string) ([]policy, error) {
	family, ok := families[goarch]
	if !ok {
		return nil, fmt.Errorf("no system call table for %q", goarch)
	}
	wanted, err := wantedABIs(s, family)
	if err != nil {
		return nil, err
	}
	p, err := parse(s)
	if err != nil {
		return nil, err
	}
	var out []policy
	for i := 0; i < len(wanted); i++ {
		t, err := translate(p, wanted[i])
		if err != nil {
			return nil, err
		}
		var x32 *table
		if i+1 < len(wanted) && wanted[i+1].bit == x32Bit {
			i++
			if x32, err = translate(p, wanted[i]); err != nil {
				return nil, err
			}
		}
		out = append(out, policy{audit: t.abi.audit, segments: segmentsOf(t, x32)})
	}
	return out, nil
}

// wantedABIs gives the machine's own ABI and those of its family that the
// profile names, in the family's order.
func wantedABIs(s *specs.LinuxSeccomp, family []*abi) ([]*abi, error) {
	for _, name := range s.Architectures {
		if !slices.Contains(knownArches, name) {
			return nil, fmt.Errorf("unknown architecture %q", name)
		}
	}
	wanted := family[:1:1]
	for _, a := range family[1:] {
		if slices.Contains(s.Architectures, a.name) {
			wanted = append(wanted, a)
		}
	}
	return wanted, nil
}

// table is a policy under construction: one ABI's numbers.
type table struct {
	abi      *abi
	fallback uint32             // verdict of numbers without an entry
	entries  map[uint32]segment // by number, without gaps filled
	// newest is the highest number that the profile names. What lies above is
	// newer than the profile: ENOSYS, so that programs fall back to what they
	// used before instead of failing with the profile's errno.
	newest  uint32
	unknown bool // ENOSYS above newest
}

func translate(p *profile, a *abi) (*table, error) {
	t := &table{abi: a, fallback: p.fallback, entries: make(map[uint32]segment)}
	calls := make(map[uint32]*call)
	for _, r := range p.rules {
		if err := t.addRule(r, p.fallback, calls); err != nil {
			return nil, err
		}
	}
	for nr, c := range calls {
		s := segment{first: nr, verdict: c.verdict}
		if !c.always {
			s.args = &argumentRules{rules: c.rules, otherwise: p.fallback, wide: a.wide}
		}
		t.entries[nr] = s
	}
	t.unknown = p.closed && t.newest > 0
	return t, nil
}

func (t *table) addRule(r profileRule, fallback uint32, calls map[uint32]*call) error {
	nr, direct := t.abi.number(r.name)
	if direct {
		t.newest = max(t.newest, nr)
	}
	if r.verdict == fallback {
		return nil // runc leaves such rules out, so they shadow nothing
	}
	if direct {
		if err := t.add(calls, nr, r, r.conditions); err != nil {
			return err
		}
	}
	if nr, n, ok := t.abi.multiplexed(r.name); ok {
		// The number of the call takes the place of argument 0; the further
		// arguments are behind a pointer.
		c := []condition{{arg: 0, op: opEqual, mask: ^uint64(0), value: uint64(n)}}
		for _, other := range r.conditions {
			if other.arg != 0 {
				c = append(c, other)
			}
		}
		return t.add(calls, nr, r, c)
	}
	return nil
}

func (t *table) add(calls map[uint32]*call, nr uint32, r profileRule, conditions []condition) error {
	c := calls[nr]
	if c == nil {
		c = &call{}
		calls[nr] = c
	}
	if err := c.add(rule{conditions: t.narrow(conditions), verdict: r.verdict}); err != nil {
		return fmt.Errorf("system call %q: %w", r.name, err)
	}
	return nil
}

// narrow cuts conditions to the width of the ABI's arguments and leaves out
// those that always hold. Bits of a value outside its mask are ignored, as
// libseccomp does.
func (t *table) narrow(conditions []condition) []condition {
	out := make([]condition, 0, len(conditions))
	for _, c := range conditions {
		if !t.abi.wide {
			c.mask &= 1<<32 - 1
			c.value &= 1<<32 - 1
		}
		c.value &= c.mask
		if c.mask != 0 {
			out = append(out, c)
		}
	}
	return out
}

// segmentsOf gives the runs over all numbers; x32 numbers lie above x86_64's.
func segmentsOf(t, x32 *table) []segment {
	if t.abi.audit != auditX86_64 {
		return merge(t.segments(0))
	}
	s := t.segments(0)
	s = slices.DeleteFunc(s, func(s segment) bool { return s.first >= x32Bit })
	if x32 != nil {
		s = append(s, x32.segments(x32Bit)...)
		s = slices.DeleteFunc(s, func(s segment) bool { return s.first >= 2*x32Bit })
		// The two top bits decide which of the two bounds below applies.
		s = append(s, t.beyond(2*x32Bit, t.fallback), x32.beyond(3*x32Bit, t.fallback))
		return merge(s)
	}
	s = append(s,
		segment{first: x32Bit, verdict: actKillThread},
		t.beyond(2*x32Bit, actKillThread),
		segment{first: 3 * x32Bit, verdict: actKillThread},
		// A tracer that skips a call sets the number -1.
		segment{first: ^uint32(0), verdict: t.fallback})
	return merge(s)
}

func (t *table) beyond(first, fallback uint32) segment {
	if t.unknown {
		return segment{first: first, verdict: actENOSYS}
	}
	return segment{first: first, verdict: fallback}
}

// segments lists the runs from number base on.
func (t *table) segments(base uint32) []segment {
	out := []segment{{first: base, verdict: t.fallback}}
	numbers := make([]uint32, 0, len(t.entries))
	for nr := range t.entries {
		numbers = append(numbers, nr)
	}
	slices.Sort(numbers)
	for _, nr := range numbers {
		out = append(out, t.entries[nr], segment{first: nr + 1, verdict: t.fallback})
	}
	if t.unknown {
		out = append(out, segment{first: t.newest + 1, verdict: actENOSYS})
	}
	return out
}

// merge drops segments that a later one with the same first hides, and those
// that say the same as the one before.
func merge(in []segment) []segment {
	slices.SortStableFunc(in, func(a, b segment) int { return cmp.Compare(a.first, b.first) })
	var out []segment
	for i, s := range in {
		if i+1 < len(in) && in[i+1].first == s.first {
			continue
		}
		if n := len(out); n > 0 && out[n-1].verdict == s.verdict && out[n-1].args == s.args {
			continue
		}
		out = append(out, s)
	}
	return out
}
