package imagestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/imagestore/blob"
	"slipway/imagestore/layer"
)

// unpacking is the work on one image's layers.
type unpacking struct {
	s     *Store
	f     *found
	from  origin
	slots chan struct{} // layers in fetch and unpack; per image, so that one registry cannot hold up another
}

// unpackAll sees to it that every layer of an image is here, and holds them
// for the caller. Layers are made in parallel; each is made once, whoever
// needs it.
func (s *Store) unpackAll(ctx context.Context, f *found, from origin) ([]string, error) {
	u := &unpacking{s: s, f: f, from: from, slots: make(chan struct{}, s.o.Parallel)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	keys := make([]string, len(f.doc.Layers))
	errs := make([]error, len(keys))
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			if keys[i], errs[i] = u.layer(ctx, i); errs[i] != nil {
				cancel()
			}
		})
	}
	all.Wait()
	if err := first(errs); err != nil {
		s.release(slices.DeleteFunc(keys, func(k string) bool { return k == "" }))
		return nil, err
	}
	return keys, nil
}

// first prefers the error that made the others stop.
func first(errs []error) error {
	var cancelled error
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		if err != nil {
			cancelled = err
		}
	}
	return cancelled
}

// layer returns the key of layer i, held for the caller.
func (u *unpacking) layer(ctx context.Context, i int) (string, error) {
	chain := u.f.config.chain[i]
	for try := 0; ; try++ {
		key := ""
		joined, err := u.s.fetch.do(ctx, chain.String(),
			func(ctx context.Context) (string, error) { return u.make(ctx, i) },
			func(k string) {
				if u.s.hold([]string{k}) == nil {
					key = k
				}
			})
		if err == nil && key == "" {
			err = fmt.Errorf("layer %q: %w", chain, ErrNotFound)
		}
		// Another's credentials, or another's archive, may have been to blame.
		if err == nil || !joined || try == 2 || ctx.Err() != nil {
			return key, err
		}
	}
}

// make returns the key of layer i, held for the flight that it is called by.
func (u *unpacking) make(ctx context.Context, i int) (string, error) {
	s, desc := u.s, u.f.doc.Layers[i]
	diffID, chain := u.f.config.RootFS.DiffIDs[i], u.f.config.chain[i]
	if key, ok := s.holdFound(diffID, chain); ok {
		return key, nil
	}
	dir, err := os.MkdirTemp(s.tmpDir(), "layer-")
	if err != nil {
		return "", err
	}
	info, err := u.fill(ctx, dir, desc, diffID)
	if err != nil {
		s.discard(dir, s.removingDir())
		return "", fmt.Errorf("layer %q: %w", desc.Digest, err)
	}
	key := layerKey(diffID)
	chained := len(info.Implied) > 0
	if chained {
		key = layerKey(chain)
		if err := u.inherit(ctx, dir, i, info); err != nil {
			s.discard(dir, s.removingDir())
			return "", fmt.Errorf("layer %q: %w", desc.Digest, err)
		}
	}
	return s.commitLayer(ctx, dir, key, layerRecord{
		Version: version, DiffID: diffID, Chained: chained,
		RootExplicit: info.RootExplicit, RootOpaque: info.RootOpaque, Bytes: info.Bytes, Inodes: info.Inodes,
	})
}

// fill fetches and unpacks into dir/fs, again from another host if one sent
// the wrong bytes.
func (u *unpacking) fill(ctx context.Context, dir string, desc ocispec.Descriptor, diffID digest.Digest) (layer.Info, error) {
	select {
	case u.slots <- struct{}{}:
		defer func() { <-u.slots }()
	case <-ctx.Done():
		return layer.Info{}, ctx.Err()
	}
	tree := filepath.Join(dir, treeName)
	for {
		if err := os.Mkdir(tree, 0o755); err != nil {
			return layer.Info{}, err
		}
		info, again, err := u.once(ctx, tree, desc)
		if err == nil && info.DiffID != diffID {
			return info, fmt.Errorf("diffID is %s, the configuration says %s: %w", info.DiffID, diffID, ErrCorrupt)
		}
		if !again {
			return info, err
		}
		u.s.log.Warn("layer from another host", "layer", desc.Digest, "error", err)
		if err := layer.Remove(ctx, tree); err != nil {
			return info, err
		}
	}
}

// once is one pass: fetch, hash, decompress, hash, unpack.
func (u *unpacking) once(ctx context.Context, tree string, desc ocispec.Descriptor) (info layer.Info, again bool, err error) {
	in, err := u.from.open(ctx, desc)
	if err != nil {
		return info, false, err
	}
	defer in.Close()
	v := &verdict{stream: in}
	info, err = u.s.decoder.Unpack(ctx, v, tree, u.s.o.limits())
	if errors.Is(err, layer.ErrInvalid) && v.err == nil {
		// Wrong bytes show as a broken archive before the digest shows them;
		// read on to know whose fault it is.
		_, _ = io.Copy(io.Discard, v)
	}
	switch {
	case err == nil:
		return info, false, nil
	case errors.Is(v.err, ErrCorrupt):
		return info, in.Distrust(), v.err
	case errors.Is(err, layer.ErrInvalid), errors.Is(err, layer.ErrLimit):
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return info, false, err
}

// inherit gives directories the attributes that they have in the layers below,
// which must be there for it.
func (u *unpacking) inherit(ctx context.Context, dir string, i int, info layer.Info) error {
	keys := make([]string, 0, i)
	defer func() { u.s.release(keys) }()
	var lower []string
	for j := range i {
		key, err := u.layer(ctx, j)
		if err != nil {
			return err
		}
		keys = append(keys, key)
		lower = append(lower, u.s.tree(key))
	}
	slices.Reverse(lower)
	return layer.Inherit(ctx, filepath.Join(dir, treeName), info.Implied, lower)
}

// commitLayer gives a layer its final name, and holds it. Until every byte of
// it is on the disk its record says so; see settler.
func (s *Store) commitLayer(ctx context.Context, dir, key string, r layerRecord) (string, error) {
	r.Boot = s.boot
	err := writeRecord(filepath.Join(dir, layerFile), r)
	if err == nil && s.boot == "" {
		err = blob.SyncFS(s.settler.fs)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		s.discard(dir, s.removingDir())
		return "", err
	}
	s.disk.Lock()
	defer s.disk.Unlock()
	s.mu.Lock()
	if l := s.layers[key]; l != nil { // made on another chain meanwhile
		l.refs++
		s.mu.Unlock()
		s.discard(dir, s.removingDir())
		return key, nil
	}
	s.mu.Unlock()
	place := filepath.Join(s.layersDir(), key)
	err = os.Rename(dir, place)
	if errors.Is(err, fs.ErrExist) { // what could not be moved away when it was dropped
		s.discard(place, s.removingDir())
		err = os.Rename(dir, place)
	}
	if err != nil {
		s.discard(dir, s.removingDir())
		return "", err
	}
	l := &layerDir{layerRecord: r, key: key, refs: 1}
	s.mu.Lock()
	s.layers[key] = l
	s.mu.Unlock()
	s.settler.add(l)
	return key, nil
}

// verdict remembers how a stream ended.
type verdict struct {
	stream
	err error
}

func (v *verdict) Read(p []byte) (int, error) {
	n, err := v.stream.Read(p)
	if err != nil {
		v.err = err
	}
	return n, err
}
