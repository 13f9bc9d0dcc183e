package seccomp

import (
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// decode reads a program back.
func decode(program []byte) []instruction {
	var out []instruction
	for ; len(program) >= 8; program = program[8:] {
		out = append(out, instruction{
			op: binary.NativeEndian.Uint16(program), jt: program[2], jf: program[3], k: binary.NativeEndian.Uint32(program[4:]),
		})
	}
	return out
}

// FuzzCompile: whatever a profile says, the compiler refuses it or gives a
// program that ends for every call.
func FuzzCompile(f *testing.F) {
	for _, s := range profiles(f) {
		text, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, uint32(1), uint64(5))
	}
	f.Fuzz(func(t *testing.T, text []byte, nr uint32, value uint64) {
		var s specs.LinuxSeccomp
		if json.Unmarshal(text, &s) != nil {
			return
		}
		for goarch := range families {
			out, err := compile(&s, goarch)
			if err != nil {
				continue
			}
			for _, a := range families[goarch] {
				d := data{nr: nr, arch: a.audit, args: [6]uint64{value, value, value, value, value, value}}
				interpret(t, out.Program, d)
			}
		}
	})
}
