// Package seccomp compiles an OCI seccomp profile into the classic BPF program
// that the kernel runs at every system call.
//
// It is pure: no system call, no file, no cgo. It does not install a filter; the
// program room does that with the bytes and flags of a Filter.
//
// Its trap is that two profiles that look alike need not mean the same. The
// meaning kept here is the one that profiles are written against: libseccomp as
// driven by runc. Rules that surprise are written down where they are decided
// (profile.go), and a test with the build tag libseccomp compares verdicts.
package seccomp
