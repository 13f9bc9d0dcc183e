package imagestore

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"slipway/imagestore/blob"
)

// found is everything about an image but its layers' bytes: what a pull or an
// import hands to commit.
type found struct {
	target   digest.Digest            // the index or manifest that the name stands for
	manifest digest.Digest            // the image's
	doc      document                 // decoded manifest
	config   configFile               // decoded configuration
	blobs    map[digest.Digest][]byte // documents and configuration
	names    []string                 // normalized, to be given to the image
}

func (f *found) id() digest.Digest { return f.doc.Config.Digest }

func (f *found) size() uint64 {
	n := uint64(len(f.blobs[f.manifest])) + uint64(len(f.blobs[f.id()]))
	for _, l := range f.doc.Layers {
		n += uint64(l.Size)
	}
	return n
}

// commit makes an image and its names visible. The layers must be held by the
// caller; the image gets a hold of its own. Blobs come first, the image's
// record is what makes it exist, names come last: whatever of this a crash
// leaves is either an image or rubbish that load removes.
func (s *Store) commit(ctx context.Context, f *found, layers []string) (Image, error) {
	s.disk.Lock()
	defer s.disk.Unlock()
	if err := ctx.Err(); err != nil {
		return Image{}, err
	}
	for d, data := range f.blobs {
		if err := s.blobs.Put(d, data); err != nil {
			return Image{}, err
		}
	}
	id := f.id()
	s.mu.Lock()
	known := s.images[id.String()]
	s.mu.Unlock()
	if known == nil {
		i := &image{config: f.config, imageRecord: imageRecord{
			Version: version, ID: id, Manifest: f.manifest, Size: f.size(), Layers: layers, Pulled: now(),
		}}
		if err := writeRecord(s.imageFile(id), i.imageRecord); err != nil {
			return Image{}, fmt.Errorf("image %q: %w", id, err)
		}
		s.mu.Lock()
		s.images[id.String()] = i
		for _, key := range layers {
			s.layers[key].refs++
		}
		s.mu.Unlock()
	}
	err := s.setNames(f)
	s.settler.add()
	s.mu.Lock()
	s.publish()
	s.mu.Unlock()
	if err != nil {
		return Image{}, err
	}
	return s.view.Load().byID[id.Encoded()], nil
}

// setNames gives the image its names. One that another image had moves with a
// single rename; what only the other's name referred to goes.
func (s *Store) setNames(f *found) error {
	old := map[digest.Digest]bool{}
	for _, n := range f.names {
		r := &nameRecord{Version: version, Name: n, Image: f.id(), Target: f.target, Manifest: f.manifest}
		s.mu.Lock()
		had := s.names[n]
		s.mu.Unlock()
		if had != nil && *had == *r {
			continue
		}
		if err := writeRecord(s.nameFile(n), r); err != nil {
			return fmt.Errorf("name %q: %w", n, err)
		}
		if had != nil {
			old[had.Target], old[had.Manifest] = true, true
		}
		s.mu.Lock()
		s.names[n] = r
		s.mu.Unlock()
	}
	s.dropBlobs(old)
	return nil
}

// dropBlobs removes those of the blobs that nothing refers to any more. Call
// it with disk held.
func (s *Store) dropBlobs(blobs map[digest.Digest]bool) {
	if len(blobs) == 0 {
		return
	}
	s.mu.Lock()
	used := s.usedBlobs()
	s.mu.Unlock()
	for d := range blobs {
		if !used[d] {
			s.removeBlob(d)
		}
	}
}

// Remove removes an image with all its names, whichever one is given. Content
// that a container's root is made of stays until the root is removed.
func (s *Store) Remove(ctx context.Context, ref string) error {
	img, err := s.Get(ref)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.disk.Lock()
	defer s.disk.Unlock()
	s.mu.Lock()
	i := s.images[img.ID]
	s.mu.Unlock()
	if i == nil {
		return fmt.Errorf("image %q: %w", ref, ErrNotFound)
	}
	if err := blob.Remove(s.imageFile(i.ID)); err != nil {
		return fmt.Errorf("remove image %q: %w", ref, err)
	}
	if err := blob.SyncDir(s.refsDir()); err != nil {
		s.log.Warn("removal of an image may come undone in a power cut", "image", img.ID, "error", err)
	}
	blobs := map[digest.Digest]bool{i.ID: true, i.Manifest: true}
	s.mu.Lock()
	delete(s.images, img.ID)
	var names []string
	for n, r := range s.names {
		if r.Image == i.ID {
			blobs[r.Target], blobs[r.Manifest] = true, true
			names = append(names, n)
			delete(s.names, n)
		}
	}
	s.publish()
	s.mu.Unlock()
	for _, n := range names {
		if err := blob.Remove(s.nameFile(n)); err != nil {
			s.log.Warn("remove name", "name", n, "error", err)
		}
	}
	s.dropBlobs(blobs)
	s.releaseLocked(i.Layers)
	return nil
}
