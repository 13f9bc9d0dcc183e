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

// View is a root mounted read-only and nowhere, to look into. Making and
// undoing one costs as much as a hundred reads: keep it for several.
type View struct{ root int }

// OpenView mounts a root. The caller closes the view.
func OpenView(r Root) (*View, error) {
	root, err := view(r)
	if err != nil {
		return nil, err
	}
	return &View{root: root}, nil
}

// Close unmounts the root.
func (v *View) Close() { linux.CloseAll(v.root) }

// Has tells whether there is something at a path. Links are followed inside the
// root only. Error: fs.ErrNotExist.
func (v *View) Has(path string) error {
	s, err := linux.NewTree(v.root).Find(path, linux.Want{Any: true})
	if errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("%q: %w", path, fs.ErrNotExist)
	}
	if err != nil {
		return err
	}
	return linux.Close(s.Fd)
}

// Read reads a regular file, at most limit bytes. The root is hostile: links
// are followed inside it only, a FIFO or a device is refused, and nothing is
// ever waited for. Errors: fs.ErrNotExist when it is not there; ErrInvalid when
// it is something else or larger.
func (v *View) Read(path string, limit int64) ([]byte, error) {
	b, err := linux.ReadIn(v.root, path, limit)
	switch {
	case errors.Is(err, unix.ENOTDIR): // a file where a directory should be: as good as not there
		return nil, fmt.Errorf("%q: %w", path, fs.ErrNotExist)
	case errors.Is(err, linux.ErrKind), errors.Is(err, linux.ErrTooLarge):
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return b, err
}
