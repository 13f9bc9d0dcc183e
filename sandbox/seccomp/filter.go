package seccomp

import (
	"errors"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// ErrProfile says that a profile cannot be turned into a filter: an unknown
// action, operator, flag or architecture, a bad argument index or errno, or a
// filter that the kernel would not take.
var ErrProfile = errors.New("seccomp profile")

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
// no filter and gives nil, nil. Any other failure is an ErrProfile.
func Compile(s *specs.LinuxSeccomp) (*Filter, error) {
	if s == nil {
		return nil, nil
	}
	return nil, errors.ErrUnsupported
}
