//go:build !cgo

package runner

// withLibc: see the other side. Both programs are built this way.
const withLibc = false
