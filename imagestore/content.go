package imagestore

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
)

// find returns the key of an unpacked layer that fits at this place of a
// chain. Call it with mu held.
func (s *Store) find(diffID, chain digest.Digest) (string, bool) {
	if l := s.layers[layerKey(diffID)]; l != nil && (!l.Chained || chain == diffID) {
		return l.key, true
	}
	if l := s.layers[layerKey(chain)]; l != nil && l.DiffID == diffID {
		return l.key, true
	}
	return "", false
}

// holdFound is find, and holds what it finds until release.
func (s *Store) holdFound(diffID, chain digest.Digest) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, ok := s.find(diffID, chain)
	if ok {
		s.layers[key].refs++
	}
	return key, ok
}

// hold keeps layers from being collected until release. ErrNotFound if one is
// gone; then none is held.
func (s *Store) hold(keys []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		if s.layers[key] == nil {
			return fmt.Errorf("layer %q: %w", key, ErrNotFound)
		}
	}
	for _, key := range keys {
		s.layers[key].refs++
	}
	return nil
}

// release gives up what was held, and removes what nobody needs any more.
func (s *Store) release(keys []string) {
	if len(keys) == 0 {
		return
	}
	s.disk.Lock()
	defer s.disk.Unlock()
	s.releaseLocked(keys)
}

// releaseLocked is release with disk held.
func (s *Store) releaseLocked(keys []string) {
	var gone []string
	s.mu.Lock()
	for _, key := range keys {
		l := s.layers[key]
		if l == nil {
			continue
		}
		if l.refs--; l.refs == 0 {
			gone = append(gone, key)
		}
	}
	s.mu.Unlock()
	s.removeLayers(gone)
}

// removeLayers takes layers that nobody holds out of sight. Call it with disk
// held.
func (s *Store) removeLayers(keys []string) {
	for _, key := range keys {
		s.mu.Lock()
		l := s.layers[key]
		free := l != nil && l.refs == 0
		if free {
			delete(s.layers, key)
		}
		s.mu.Unlock()
		if free {
			s.discard(filepath.Join(s.layersDir(), key), s.removingDir())
		}
	}
}

// discard moves a tree into dir, from where it is removed in the background.
// Moving is quick and needs no space.
func (s *Store) discard(path, dir string) {
	to := filepath.Join(dir, filepath.Base(path)+"-"+strconv.FormatInt(time.Now().UnixNano(), 36))
	if err := os.Rename(path, to); err != nil {
		if !os.IsNotExist(err) {
			s.log.Warn("move away", "path", path, "error", err)
		}
		return
	}
	s.trash.add(to)
}
