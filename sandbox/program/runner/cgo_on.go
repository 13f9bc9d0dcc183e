//go:build cgo

package runner

// withLibc: the process may hold libc, which registers an rseq area for each
// thread. A child without its copy of that is killed.
const withLibc = true
