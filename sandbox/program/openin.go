package program

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

// view mounts a root read-only, detached. A directory that is being written is
// taken as the top layer, so that a view never needs the work directory, which
// a running container holds.
func view(r Root) (int, error) {
	lower := r.Lower
	if r.Upper != "" {
		lower = append([]string{r.Upper}, r.Lower...)
	}
	return linux.Overlay(lower, "", "")
}

// OpenIn reads a regular file of a root, at most limit bytes. The root is
// hostile: links are followed inside it only, a FIFO or a device is refused,
// and nothing is ever waited for. Errors: fs.ErrNotExist when it is not there;
// ErrInvalid when it is something else or larger.
func OpenIn(r Root, path string, limit int64) ([]byte, error) {
	root, err := view(r)
	if err != nil {
		return nil, err
	}
	defer linux.CloseAll(root)
	b, err := linux.ReadIn(root, path, limit)
	switch {
	case errors.Is(err, unix.ENOTDIR): // a file where a directory should be: as good as not there
		return nil, fmt.Errorf("%q: %w", path, fs.ErrNotExist)
	case errors.Is(err, linux.ErrKind), errors.Is(err, linux.ErrTooLarge):
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return b, err
}
