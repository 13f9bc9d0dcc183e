package cgroup

import (
	"errors"
	"fmt"
)

var (
	// ErrNotFound: the group exists in no hierarchy (any more).
	ErrNotFound = errors.New("cgroup not found")
	// ErrExists: Create found the leaf in at least one hierarchy. A leaf is never
	// shared: whatever sits in it would be killed with the container.
	ErrExists = errors.New("cgroup exists")
	// ErrInvalid: a path, name or value that no hierarchy could take.
	ErrInvalid = errors.New("invalid cgroup request")
	// ErrUnsupported: a valid request that this host or this version cannot do.
	ErrUnsupported = errors.New("not supported by the cgroups of this host")
	// ErrBelowUsage: a memory limit below what is in use. See LimitError.
	ErrBelowUsage = errors.New("memory limit below usage")
	// ErrStuck: processes outlived SIGKILL. See StuckError.
	ErrStuck = errors.New("processes stay")
)

// LimitError is a memory limit that the kernel would meet only by killing, or
// does not take at all. The old limits are in force. It unwraps to ErrBelowUsage.
type LimitError struct {
	Limit uint64 // bytes wanted
	Usage uint64 // bytes in use when asked
}

// Error names both numbers, in bytes.
func (e *LimitError) Error() string {
	return fmt.Sprintf("memory limit %d is below the usage of %d bytes", e.Limit, e.Usage)
}

// Unwrap makes errors.Is(err, ErrBelowUsage) hold.
func (e *LimitError) Unwrap() error { return ErrBelowUsage }
