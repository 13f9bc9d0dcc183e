package seccomp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// ErrProfile says that a profile cannot be turned into a filter: an unknown
// action, operator, flag or architecture, a bad argument index or errno, or a
// filter that the kernel would not take.
var ErrProfile = errors.New("seccomp profile")

// maxInstructions is BPF_MAXINSNS, the longest program that the kernel takes.
const maxInstructions = 4096

// Filter is a compiled profile, ready for seccomp(SECCOMP_SET_MODE_FILTER).
type Filter struct {
	// Program is an array of struct sock_filter, 8 bytes each, native endian,
	// 1 to 4096 instructions.
	Program []byte
	// Flags for seccomp(2): SECCOMP_FILTER_FLAG_LOG (2) and _SPEC_ALLOW (4).
	// TSYNC is never set: the installing process has one thread.
	Flags uint
}

// Compile turns a profile into a filter for the architecture of this binary
// and the further architectures that the profile names. A nil profile means
// no filter and gives nil, nil. Any failure is an ErrProfile.
func Compile(s *specs.LinuxSeccomp) (*Filter, error) {
	if s == nil {
		return nil, nil
	}
	f, err := compile(s, runtime.GOARCH)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProfile, err)
	}
	return f, nil
}

func compile(s *specs.LinuxSeccomp, goarch string) (*Filter, error) {
	flags, err := flagBits(s)
	if err != nil {
		return nil, err
	}
	policies, err := policiesOf(s, goarch)
	if err != nil {
		return nil, err
	}
	code := assemble(policies)
	if len(code) > maxInstructions {
		return nil, fmt.Errorf("%d instructions, the kernel takes %d", len(code), maxInstructions)
	}
	return &Filter{Program: encode(code), Flags: flags}, nil
}

// encode lays instructions out as an array of struct sock_filter.
func encode(code []instruction) []byte {
	out := make([]byte, 0, 8*len(code))
	for _, i := range code {
		out = binary.NativeEndian.AppendUint16(out, i.op)
		out = append(out, i.jt, i.jf)
		out = binary.NativeEndian.AppendUint32(out, i.k)
	}
	return out
}
