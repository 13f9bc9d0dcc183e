package registry

import "errors"

// What can be wrong when a registry is asked.
var (
	// ErrNotFound: the registry has no such repository, manifest or blob.
	ErrNotFound = errors.New("not found")
	// ErrDenied: 401 or 403, or a token server that refused.
	ErrDenied = errors.New("access denied")
	// ErrCorrupt: the bytes are not those of the digest or size asked for, or
	// are not the document they are said to be.
	ErrCorrupt = errors.New("corrupt content")
	// ErrUnreachable: no host answered, or not in a usable way.
	ErrUnreachable = errors.New("registry unreachable")
)
