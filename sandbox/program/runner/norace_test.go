//go:build !race

package runner

// raced: the race detector brings in libc, whose rseq area is in memory that
// the first of two children unmaps; the kernel kills it then (see doc.go).
const raced = false
