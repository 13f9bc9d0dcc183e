package imagestore

import (
	"errors"

	"slipway/imagestore/registry"
)

// What can be wrong with an image. Every error of this package that has one of
// these causes wraps it; test with errors.Is.
var (
	// ErrNotFound: no such image, container root, or, on a pull, no such
	// manifest in any registry that was asked.
	ErrNotFound = registry.ErrNotFound
	// ErrDenied: a registry wants other credentials (401, 403).
	ErrDenied = registry.ErrDenied
	// ErrCorrupt: content does not match its digest, size or diffID, or is not
	// what its media type says.
	ErrCorrupt = registry.ErrCorrupt
	// ErrUnreachable: no registry host could be talked to.
	ErrUnreachable = registry.ErrUnreachable
	// ErrInvalid: the request itself is wrong: a malformed reference, a
	// container id with a slash in it.
	ErrInvalid = errors.New("invalid")
	// ErrExists: the container has a root already.
	ErrExists = errors.New("already exists")
)
