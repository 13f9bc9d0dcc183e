package seccomp

import (
	"encoding/binary"
	"testing"
)

// data is struct seccomp_data.
type data struct {
	nr, arch uint32
	args     [6]uint64
}

func (d data) word(offset uint32) uint32 {
	switch {
	case offset == 0:
		return d.nr
	case offset == 4:
		return d.arch
	case offset >= 16 && offset < 64 && offset%4 == 0:
		return uint32(d.args[(offset-16)/8] >> (8 * (offset % 8)))
	}
	panic("load out of struct seccomp_data")
}

// interpret runs a filter as the kernel does and fails the test where the
// kernel would refuse to load it.
func interpret(t testing.TB, program []byte, d data) uint32 {
	t.Helper()
	var a uint32
	n := len(program) / 8
	for pc := 0; pc < n; {
		i := program[8*pc:]
		op, jt, jf, k := binary.NativeEndian.Uint16(i), int(i[2]), int(i[3]), binary.NativeEndian.Uint32(i[4:])
		pc++
		jump := func(yes bool) {
			if yes {
				pc += jt
			} else {
				pc += jf
			}
		}
		switch op {
		case opLoad:
			a = d.word(k)
		case opAnd:
			a &= k
		case opJump:
			pc += int(k)
		case opEqual:
			jump(a == k)
		case opMore:
			jump(a > k)
		case opLeast:
			jump(a >= k)
		case opRet:
			return k
		default:
			t.Fatalf("instruction %d: unknown code %#x", pc-1, op)
		}
	}
	t.Fatalf("ran off the end of %d instructions", n)
	return 0
}
