package seccomp

import "slices"

// Offsets in struct seccomp_data; every supported machine is little endian.
const (
	offsetNr   = 0
	offsetArch = 4
	offsetArgs = 16 // low half of argument 0; 8 bytes each
)

// The few instructions of classic BPF that a filter needs.
const (
	opLoad  uint16 = 0x20 // A = word at k
	opAnd   uint16 = 0x54 // A &= k
	opJump  uint16 = 0x05 // skip k
	opEqual uint16 = 0x15 // A == k
	opMore  uint16 = 0x25 // A > k
	opLeast uint16 = 0x35 // A >= k
	opRet   uint16 = 0x06 // return k
)

// reach is how far a conditional jump can skip.
const reach = 255

type instruction struct {
	op     uint16
	jt, jf uint8
	k      uint32
}

// label names an instruction by its distance from the end of the program, so
// that it stays true while code is put in front of it.
type label int

// assembler builds a program from its end: every jump goes forward, so its
// target is there when the jump is made and its length is known at once.
type assembler struct {
	code []instruction // last instruction first
	rets map[uint32]label
}

// assemble gives the program: find the architecture, then the system call by
// binary search over runs of equal verdict, then look at arguments.
func assemble(policies []policy) []instruction {
	a := &assembler{rets: make(map[uint32]label)}
	next := a.ret(actKillThread) // an architecture that the profile leaves out
	blocks := make([]label, len(policies))
	for i := len(policies) - 1; i >= 0; i-- {
		tree := a.search(policies[i].segments, make(map[*argumentRules]label))
		blocks[i] = a.load(offsetNr, tree)
	}
	for i := len(policies) - 1; i >= 0; i-- {
		next = a.branch(opEqual, policies[i].audit, blocks[i], next)
	}
	a.load(offsetArch, next)
	slices.Reverse(a.code)
	return a.code
}

func (a *assembler) emit(i instruction) label {
	a.code = append(a.code, i)
	return label(len(a.code) - 1)
}

// skip is the jump length from the next instruction made to a label.
func (a *assembler) skip(to label) int { return len(a.code) - 1 - int(to) }

// ret gives an instruction that returns a verdict; one is shared as long as
// jumps reach it.
func (a *assembler) ret(verdict uint32) label {
	if l, ok := a.rets[verdict]; ok && a.skip(l) <= reach-2 {
		return l
	}
	l := a.emit(instruction{op: opRet, k: verdict})
	a.rets[verdict] = l
	return l
}

// near gives a label that a conditional jump made next, or after one more
// instruction, can reach: the label itself, a copy of a return, or a long jump.
func (a *assembler) near(to label) label {
	if a.skip(to) <= reach-1 {
		return to
	}
	if i := a.code[to]; i.op == opRet {
		return a.ret(i.k)
	}
	return a.emit(instruction{op: opJump, k: uint32(a.skip(to))})
}

func (a *assembler) branch(op uint16, k uint32, yes, no label) label {
	yes = a.near(yes)
	no = a.near(no)
	return a.emit(instruction{op: op, jt: uint8(a.skip(yes)), jf: uint8(a.skip(no)), k: k})
}

// then makes an instruction that goes on with the one at next.
func (a *assembler) then(i instruction, next label) label {
	if d := a.skip(next); d > 0 {
		a.emit(instruction{op: opJump, k: uint32(d)})
	}
	return a.emit(i)
}

func (a *assembler) load(offset uint32, next label) label {
	return a.then(instruction{op: opLoad, k: offset}, next)
}

// search is a balanced tree over segments, entered with the number loaded.
func (a *assembler) search(s []segment, done map[*argumentRules]label) label {
	if len(s) == 1 {
		return a.leaf(s[0], done)
	}
	middle := len(s) / 2
	high := a.search(s[middle:], done)
	low := a.search(s[:middle], done)
	return a.branch(opLeast, s[middle].first, high, low)
}

func (a *assembler) leaf(s segment, done map[*argumentRules]label) label {
	if s.args == nil {
		return a.ret(s.verdict)
	}
	if l, ok := done[s.args]; ok {
		return l
	}
	next := a.ret(s.args.otherwise)
	for _, r := range slices.Backward(s.args.rules) {
		next = a.rule(r, s.args.wide, next)
	}
	done[s.args] = next
	return next
}

// rule tests conditions in order; all of them must hold.
func (a *assembler) rule(r rule, wide bool, no label) label {
	yes := a.ret(r.verdict)
	for _, c := range slices.Backward(r.conditions) {
		yes = a.condition(c, wide, yes, no)
	}
	return yes
}

// condition compares one argument, in halves: the machine has 32-bit words.
// On a 32-bit architecture there is only the low half.
func (a *assembler) condition(c condition, wide bool, yes, no label) label {
	low := offsetArgs + 8*uint32(c.arg)
	if c.negated {
		yes, no = no, yes
	}
	if c.op == opEqual {
		yes = a.masked(low, uint32(c.mask), uint32(c.value), yes, no)
		if wide {
			yes = a.masked(low+4, uint32(c.mask>>32), uint32(c.value>>32), yes, no)
		}
		return yes
	}
	l := a.load(low, a.branch(c.op, uint32(c.value), yes, no))
	if !wide {
		return l
	}
	high := uint32(c.value >> 32)
	l = a.branch(opEqual, high, l, no)
	l = a.branch(opMore, high, yes, l)
	return a.load(low+4, l)
}

func (a *assembler) masked(offset, mask, value uint32, yes, no label) label {
	if mask == 0 {
		return yes
	}
	l := a.branch(opEqual, value, yes, no)
	if mask != ^uint32(0) {
		l = a.then(instruction{op: opAnd, k: mask}, l)
	}
	return a.load(offset, l)
}
