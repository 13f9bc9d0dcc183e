//go:build !race

package program

// raced: the race detector brings in libc, whose rseq area is in memory that
// the first of two children unmaps; the kernel kills it then (see package runner).
const raced = false
