package imagestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"slipway/imagestore/blob"
	"slipway/imagestore/registry"
)

// load reads what is there. Order matters: layers before the images that need
// them, images before their names, container roots before anything is
// collected.
func (s *Store) load(ctx context.Context) error {
	if err := s.makeDirs(); err != nil {
		return err
	}
	if err := s.settler.open(); err != nil {
		return err
	}
	if err := s.loadTrash(); err != nil {
		return err
	}
	var err error
	if s.blobs, err = blob.Open(filepath.Join(s.o.Root, "images", "blobs")); err != nil {
		return err
	}
	if err := s.loadLayers(); err != nil {
		return err
	}
	if err := s.loadRefs(ctx); err != nil {
		return err
	}
	whole, err := s.loadRoots()
	if err != nil {
		return err
	}
	if whole {
		// Where a root cannot be read, nobody knows what it is made of.
		s.collectAll()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publish()
	return nil
}

// loadTrash goes on with removals that a crash has interrupted, and removes
// what was half made.
func (s *Store) loadTrash() error {
	for _, dir := range []string{s.tmpDir(), s.removingDir(), s.goneRootsDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			s.trash.add(filepath.Join(dir, e.Name()))
		}
	}
	return nil
}

func (s *Store) loadLayers() error {
	entries, err := os.ReadDir(s.layersDir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		l := &layerDir{key: e.Name()}
		err := checkKey(e.Name())
		if err == nil {
			err = readRecord(filepath.Join(s.layersDir(), e.Name(), layerFile), &l.layerRecord)
		}
		if err == nil {
			err = checkVersion(l.Version)
		}
		if err == nil {
			_, err = os.Stat(s.tree(e.Name()))
		}
		if err != nil {
			s.quarantine(filepath.Join(s.layersDir(), e.Name()), err)
			continue
		}
		if l.Boot != "" {
			s.loadUnsettled(l)
			continue
		}
		s.layers[l.key] = l
	}
	return nil
}

func (s *Store) loadRefs(ctx context.Context) error {
	entries, err := os.ReadDir(s.refsDir())
	if err != nil {
		return err
	}
	if err := blob.CleanTmp(s.refsDir()); err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if strings.HasPrefix(e.Name(), "image-") {
			path := filepath.Join(s.refsDir(), e.Name())
			err := s.loadImage(path)
			if errors.Is(err, errUnsettled) {
				s.log.Warn("image removed", "path", path, "reason", err)
				err = blob.Remove(path)
			}
			if err != nil {
				s.quarantine(path, err)
			}
		}
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "image-") || strings.HasPrefix(e.Name(), blob.TmpPrefix) {
			continue
		}
		if err := s.loadName(filepath.Join(s.refsDir(), e.Name())); err != nil {
			s.quarantine(filepath.Join(s.refsDir(), e.Name()), err)
		}
	}
	return nil
}

// loadImage accepts an image only if everything that it is made of is there.
// One that is not is gone, and the next pull makes it whole.
func (s *Store) loadImage(path string) error {
	i := &image{}
	if err := readRecord(path, &i.imageRecord); err != nil {
		return err
	}
	if err := checkVersion(i.Version); err != nil {
		return err
	}
	if blob.Check(i.ID) != nil || s.imageFile(i.ID) != path {
		return errors.New("not the file of its id")
	}
	if _, err := s.blobs.Get(i.Manifest, registry.MaxManifest); err != nil {
		return err
	}
	data, err := s.blobs.Get(i.ID, registry.MaxConfig)
	if err != nil {
		return err
	}
	if i.config, err = decodeConfig(data); err != nil {
		return err
	}
	if len(i.Layers) != len(i.config.chain) {
		return errors.New("not the layers of its configuration")
	}
	for _, key := range i.Layers {
		if s.unsettled[key] {
			return errUnsettled
		}
		if s.layers[key] == nil {
			return fmt.Errorf("layer %q: %w", key, fs.ErrNotExist)
		}
	}
	s.images[i.ID.String()] = i
	for _, key := range i.Layers {
		s.layers[key].refs++
	}
	return nil
}

func (s *Store) loadName(path string) error {
	r := &nameRecord{}
	if err := readRecord(path, r); err != nil {
		return err
	}
	if err := checkVersion(r.Version); err != nil {
		return err
	}
	n, err := parseName(r.Name)
	if err != nil || n.String() != r.Name || s.nameFile(r.Name) != path {
		return errors.New("not the file of its name")
	}
	if s.images[r.Image.String()] == nil {
		// The image was being removed, or is broken and was reported above.
		return blob.Remove(path)
	}
	s.names[r.Name] = r
	return nil
}

// quarantine takes a file or directory out of the way, where somebody can look
// at it.
func (s *Store) quarantine(path string, why error) {
	to := filepath.Join(s.quarantineDir(), fmt.Sprintf("%d-%s", time.Now().UnixNano(), filepath.Base(path)))
	err := os.Rename(path, to)
	s.log.Error("quarantined", "path", path, "to", to, "reason", why, "error", err)
}

// collectAll removes blobs and layers that nothing refers to: those of a pull
// or a removal that a crash has interrupted.
func (s *Store) collectAll() {
	s.disk.Lock()
	defer s.disk.Unlock()
	s.mu.Lock()
	used := s.usedBlobs()
	var keys []string
	for key, l := range s.layers {
		if l.refs == 0 {
			keys = append(keys, key)
		}
	}
	s.mu.Unlock()
	all, err := s.blobs.List()
	if err != nil {
		s.log.Warn("list blobs", "error", err)
	}
	for d := range all {
		if !used[d] {
			s.removeBlob(d)
		}
	}
	s.removeLayers(keys)
}

// usedBlobs is every blob that an image or a name refers to. Call it with mu
// held.
func (s *Store) usedBlobs() map[digest.Digest]bool {
	used := map[digest.Digest]bool{}
	for _, i := range s.images {
		used[i.ID], used[i.Manifest] = true, true
	}
	for _, n := range s.names {
		used[n.Target], used[n.Manifest] = true, true
	}
	return used
}

func (s *Store) removeBlob(d digest.Digest) {
	if err := s.blobs.Remove(d); err != nil {
		s.log.Warn("remove blob", "blob", d, "error", err)
	}
}
