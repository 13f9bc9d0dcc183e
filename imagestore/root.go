package imagestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"slipway/imagestore/blob"
	"slipway/imagestore/layer"
)

// root is a container's root, as far as it is known.
type root struct {
	rootRecord
	pending bool // being made or removed: reserved
	broken  bool // its record could not be read; it can only be removed
}

// keys are all the layers that it holds.
func (r *root) keys() []string {
	keys := slices.Clone(r.Layers)
	for _, v := range r.Views {
		keys = append(keys, v.Layers...)
	}
	return keys
}

// containerID is what may be a directory of that name; it does not begin with
// a dot, so it is none of ours.
var containerID = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$`)

func checkContainer(id string) error {
	if !containerID.MatchString(id) {
		return fmt.Errorf("container id %q: %w", id, ErrInvalid)
	}
	return nil
}

func (s *Store) rootDir(id string) string { return filepath.Join(s.containersDir(), id) }

func (s *Store) describe(id string, r *rootRecord) Root {
	d := s.rootDir(id)
	return Root{Lower: s.trees(r.Layers), Upper: filepath.Join(d, "upper"), Work: filepath.Join(d, "work")}
}

func (s *Store) trees(keys []string) []string {
	if len(keys) == 0 {
		return []string{s.emptyDir()}
	}
	trees := make([]string, len(keys))
	for i, key := range keys {
		trees[i] = s.tree(key)
	}
	return trees
}

// lowers are the layers of an image that can be seen, top first, and the
// directory that the root's attributes come from, "" if no layer says.
func (s *Store) lowers(id string) (keys []string, attributes string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.images[id]
	if i == nil {
		return nil, "", fmt.Errorf("image %q: %w", id, ErrNotFound)
	}
	for _, key := range slices.Backward(i.Layers) {
		l := s.layers[key]
		keys = append(keys, key)
		if l.RootExplicit && attributes == "" {
			attributes = s.tree(key)
		}
		if l.RootOpaque {
			break
		}
	}
	return keys, attributes, nil
}

// holdImage is lowers of the image that ref names, held.
func (s *Store) holdImage(ref string) (Image, []string, string, error) {
	img, err := s.Get(ref)
	if err != nil {
		return img, nil, "", err
	}
	keys, attributes, err := s.lowers(img.ID)
	if err == nil {
		err = s.hold(keys)
	}
	return img, keys, attributes, err
}

// NewRoot makes the writable layer of a container on an image, and keeps the
// image's content as long as it is there. The image may be named in any way
// that Get knows. ErrExists if the container has a root.
func (s *Store) NewRoot(ctx context.Context, imageID, containerID string) (_ Root, err error) {
	if err := checkContainer(containerID); err != nil {
		return Root{}, err
	}
	if err := ctx.Err(); err != nil {
		return Root{}, err
	}
	r := &root{pending: true}
	s.mu.Lock()
	taken := s.roots[containerID] != nil
	if !taken {
		s.roots[containerID] = r
	}
	s.mu.Unlock()
	if taken {
		return Root{}, fmt.Errorf("root of container %q: %w", containerID, ErrExists)
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			delete(s.roots, containerID)
		}
		r.pending = false
	}()
	img, keys, attributes, err := s.holdImage(imageID)
	if err != nil {
		return Root{}, err
	}
	record := rootRecord{Version: version, Container: containerID, Image: digestOf(img.ID), Layers: keys}
	if err := s.makeRoot(containerID, &record, attributes); err != nil {
		s.release(keys)
		return Root{}, fmt.Errorf("root of container %q: %w", containerID, err)
	}
	s.mu.Lock()
	r.rootRecord = record
	s.mu.Unlock()
	return s.describe(containerID, &record), nil
}

// makeRoot makes the directory whole beside its place and moves it there.
func (s *Store) makeRoot(id string, r *rootRecord, attributes string) (err error) {
	tmp, err := os.MkdirTemp(s.goneRootsDir(), "new-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.trash.add(tmp)
		}
	}()
	upper := filepath.Join(tmp, "upper")
	if err := os.Mkdir(upper, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(upper, 0o755); err != nil { // whatever the umask
		return err
	}
	if err := os.Mkdir(filepath.Join(tmp, "work"), 0o700); err != nil {
		return err
	}
	if attributes != "" {
		if err := layer.CopyRoot(attributes, upper); err != nil {
			return err
		}
	}
	if err := writeRecord(filepath.Join(tmp, rootFile), r); err != nil {
		return err
	}
	// Not synced: a power cut ends the container, and what it leaves of a root
	// is removed like any other that nobody knows.
	return os.Rename(tmp, s.rootDir(id))
}

// Root describes the root of a container that NewRoot made, also after a
// restart. ErrNotFound; ErrCorrupt if its record was.
func (s *Store) Root(containerID string) (Root, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.roots[containerID]
	switch {
	case r == nil || r.pending:
		return Root{}, fmt.Errorf("root of container %q: %w", containerID, ErrNotFound)
	case r.broken:
		return Root{}, fmt.Errorf("root of container %q: its record was quarantined: %w", containerID, ErrCorrupt)
	}
	return s.describe(containerID, &r.rootRecord), nil
}

// View describes an image read-only. Nothing keeps its content while it is
// used; see UseView. There are at least two lowers, which an overlay without
// an upper needs.
func (s *Store) View(imageID string) (Root, error) {
	img, err := s.Get(imageID)
	if err != nil {
		return Root{}, err
	}
	keys, _, err := s.lowers(img.ID)
	if err != nil {
		return Root{}, err
	}
	return s.describeView(keys), nil
}

func (s *Store) describeView(keys []string) Root {
	trees := s.trees(keys)
	for len(trees) < 2 {
		trees = append(trees, s.emptyDir())
	}
	return Root{Lower: trees}
}

// UseView is View, and keeps the image's content until containerID's root is
// removed: for image volumes.
func (s *Store) UseView(ctx context.Context, imageID, containerID string) (Root, error) {
	if err := ctx.Err(); err != nil {
		return Root{}, err
	}
	img, keys, _, err := s.holdImage(imageID)
	if err != nil {
		return Root{}, err
	}
	if err := s.addView(containerID, viewRecord{Image: digestOf(img.ID), Layers: keys}); err != nil {
		s.release(keys)
		return Root{}, fmt.Errorf("volume of container %q: %w", containerID, err)
	}
	return s.describeView(keys), nil
}

func (s *Store) addView(containerID string, v viewRecord) error {
	s.disk.Lock() // one writer of the record at a time
	defer s.disk.Unlock()
	s.mu.Lock()
	r := s.roots[containerID]
	if r == nil || r.pending || r.broken {
		s.mu.Unlock()
		return ErrNotFound
	}
	record := r.rootRecord
	s.mu.Unlock()
	record.Views = append(slices.Clone(record.Views), v)
	if err := writeRecord(filepath.Join(s.rootDir(containerID), rootFile), record); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.rootRecord = record
	return nil
}

// RemoveRoot removes a container's writable layer and lets go of its image. It
// is idempotent and quick: the tree is moved away and removed in the
// background. The overlay must be unmounted.
func (s *Store) RemoveRoot(ctx context.Context, containerID string) error {
	if err := checkContainer(containerID); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.disk.Lock()
	defer s.disk.Unlock()
	s.mu.Lock()
	r := s.roots[containerID]
	if r != nil && r.pending {
		s.mu.Unlock()
		return fmt.Errorf("root of container %q: is being made: %w", containerID, ErrExists)
	}
	s.mu.Unlock()
	if _, err := os.Lstat(s.rootDir(containerID)); err == nil {
		s.discard(s.rootDir(containerID), s.goneRootsDir())
	}
	if _, err := os.Lstat(s.rootDir(containerID)); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("root of container %q: cannot be moved away: %w", containerID, errors.Join(err, ErrExists))
	}
	s.usage.forget(containerID)
	if r == nil {
		return nil
	}
	s.mu.Lock()
	delete(s.roots, containerID)
	s.mu.Unlock()
	s.releaseLocked(r.keys())
	return nil
}

// Containers lists the containers that have a root, sorted: whoever owns the
// containers removes those that it does not know.
func (s *Store) Containers() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.roots))
}

// loadRoots reads the containers' records. whole is false if one of them could
// not be read.
func (s *Store) loadRoots() (whole bool, err error) {
	entries, err := os.ReadDir(s.containersDir())
	if err != nil {
		return false, err
	}
	whole = true
	for _, e := range entries {
		id := e.Name()
		if checkContainer(id) != nil {
			continue
		}
		file := filepath.Join(s.rootDir(id), rootFile)
		r := &root{}
		if err := s.loadRoot(file, id, r); err != nil {
			s.quarantine(file, err)
			r = &root{broken: true}
			whole = false
		}
		_ = blob.CleanTmp(s.rootDir(id))
		s.roots[id] = r
	}
	return whole, nil
}

func (s *Store) loadRoot(file, id string, r *root) error {
	if err := readRecord(file, &r.rootRecord); err != nil {
		return err
	}
	if err := checkVersion(r.Version); err != nil {
		return err
	}
	if r.Container != id {
		return fmt.Errorf("the record of container %q", r.Container)
	}
	return s.hold(r.keys())
}
