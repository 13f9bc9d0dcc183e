package sandbox

import "errors"

// The roots of this room's errors. The server's table maps them to gRPC codes.
var (
	// ErrNotFound: no pod sandbox or container has this id.
	ErrNotFound = errors.New("not found")
	// ErrExists: another pod sandbox or container with the same metadata but
	// another configuration is there.
	ErrExists = errors.New("already exists")
	// ErrInvalid: the request cannot be carried out as it is written.
	ErrInvalid = errors.New("invalid request")
	// ErrState: the object is in a state that does not allow the operation.
	ErrState = errors.New("wrong state")
	// ErrUnavailable: a part that is needed (network, keeper) is not ready.
	ErrUnavailable = errors.New("unavailable")
	// ErrImageVolume: an image volume cannot be mounted.
	ErrImageVolume = errors.New("image volume")
	// ErrSlow: a subscriber of events did not keep up.
	ErrSlow = errors.New("too slow")
	// ErrRecursiveReadonly: a recursive read-only mount is asked for, and this
	// kernel has none.
	ErrRecursiveReadonly = errors.New("no recursive read-only mounts")
	// ErrTimeout: a command given to exec ran longer than it may.
	ErrTimeout = errors.New("timed out")
)
