package imagestore

import (
	"errors"
	"fmt"
	"io/fs"

	"slipway/imagestore/layer"
)

const (
	keptFiles = 4         // of one image
	keptBytes = 256 << 10 // of one file
)

// ReadFile reads a regular file of at most limit bytes from an image, as a
// container on it would see it before it writes. Nothing is mounted; links and
// whiteouts are followed by hand. Small files are remembered: an image does not
// change. The bytes must not be changed.
//
// Errors: ErrNotFound for the image, fs.ErrNotExist for the file, ErrCorrupt if
// it is something else or larger.
func (s *Store) ReadFile(imageID, name string, limit int64) ([]byte, error) {
	img, err := s.Get(imageID)
	if err != nil {
		return nil, err
	}
	if b, ok := s.keptFile(img.ID, name); ok && int64(len(b)) <= limit {
		if b == nil {
			return nil, fmt.Errorf("image %q: %q: %w", img.ID, name, fs.ErrNotExist)
		}
		return b, nil
	}
	_, keys, _, err := s.holdImage(img.ID)
	if err != nil {
		return nil, err
	}
	defer s.release(keys)
	b, err := layer.ReadFile(s.trees(keys), name, limit)
	switch {
	case errors.Is(err, layer.ErrInvalid), errors.Is(err, layer.ErrLimit):
		return nil, fmt.Errorf("image %q: %w: %w", img.ID, ErrCorrupt, err)
	case errors.Is(err, fs.ErrNotExist):
		s.keepFile(img.ID, name, nil)
	case err == nil:
		s.keepFile(img.ID, name, append([]byte{}, b...))
	}
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", img.ID, err)
	}
	return b, nil
}

// keptFile returns what is remembered of a file; nil bytes are a file that is
// not there.
func (s *Store) keptFile(id, name string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.images[id]; i != nil {
		b, ok := i.files[name]
		return b, ok
	}
	return nil, false
}

func (s *Store) keepFile(id, name string, b []byte) {
	if len(b) > keptBytes {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.images[id]
	if i == nil || len(i.files) >= keptFiles {
		return
	}
	if i.files == nil {
		i.files = map[string][]byte{}
	}
	i.files[name] = b
}
