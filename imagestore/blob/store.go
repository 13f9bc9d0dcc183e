package blob

import (
	_ "crypto/sha256" // digests are sha256 or sha512
	_ "crypto/sha512"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// ErrCorrupt: the bytes are not those of the digest.
var ErrCorrupt = errors.New("does not match its digest")

// A Store is a directory of blobs, <dir>/<algorithm>/<hex>. Its methods may be
// called at the same time; who removes a blob sees to it that nobody needs it.
type Store struct {
	dir string
}

// algorithms are all that a digest may name.
var algorithms = [...]digest.Algorithm{digest.SHA256, digest.SHA512}

// Open makes the directories and removes what was half written.
func Open(dir string) (*Store, error) {
	for _, a := range algorithms {
		d := filepath.Join(dir, a.String())
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
		if err := CleanTmp(d); err != nil {
			return nil, err
		}
	}
	return &Store{dir: dir}, nil
}

// Check refuses a digest that is malformed or of another algorithm than sha256
// and sha512. Only a checked digest may become part of a path (CVE-2024-3727).
func Check(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d, err)
	}
	for _, a := range algorithms {
		if d.Algorithm() == a {
			return nil
		}
	}
	return fmt.Errorf("digest %q: only sha256 and sha512 are accepted", d)
}

// Path says where a blob lies.
func (s *Store) Path(d digest.Digest) string {
	return filepath.Join(s.dir, d.Algorithm().String(), d.Encoded())
}

// Put stores data under d, which it must match. A blob that is there already
// is left alone.
func (s *Store) Put(d digest.Digest, data []byte) error {
	if err := verify(d, data); err != nil {
		return err
	}
	if _, err := s.Get(d, int64(len(data))); err == nil {
		return nil
	}
	return WriteFile(s.Path(d), data)
}

// Get reads a blob of at most max bytes and verifies it. The error is
// fs.ErrNotExist when there is none.
func (s *Store) Get(d digest.Digest, max int64) ([]byte, error) {
	if err := Check(d); err != nil {
		return nil, err
	}
	f, err := os.Open(s.Path(d))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > max {
		return nil, fmt.Errorf("blob %q: more than %d bytes", d, max)
	}
	return data, verify(d, data)
}

// Remove removes a blob. One that is not there is removed already.
func (s *Store) Remove(d digest.Digest) error {
	if err := Check(d); err != nil {
		return err
	}
	return Remove(s.Path(d))
}

// List returns every blob and its size in bytes.
func (s *Store) List() (map[digest.Digest]int64, error) {
	all := map[digest.Digest]int64{}
	for _, a := range algorithms {
		entries, err := os.ReadDir(filepath.Join(s.dir, a.String()))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			d := digest.NewDigestFromEncoded(a, e.Name())
			if Check(d) != nil {
				continue
			}
			if fi, err := e.Info(); err == nil {
				all[d] = fi.Size()
			}
		}
	}
	return all, nil
}

func verify(d digest.Digest, data []byte) error {
	if err := Check(d); err != nil {
		return err
	}
	if got := d.Algorithm().FromBytes(data); got != d {
		return fmt.Errorf("blob %q: %w, the bytes are %s", d, ErrCorrupt, got)
	}
	return nil
}
