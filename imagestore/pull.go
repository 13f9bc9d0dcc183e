package imagestore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/imagestore/registry"
)

// Pull gets an image from a registry, or finds that it is here already. Equal
// pulls at the same time are one; it goes on as long as one of them waits.
// Cancelled, it leaves nothing.
//
// Errors: ErrInvalid for the reference, ErrNotFound, ErrDenied, ErrUnreachable,
// ErrCorrupt. They name every host that was asked and never hold a secret.
func (s *Store) Pull(ctx context.Context, r PullRequest) (Image, error) {
	n, err := parseName(r.Reference)
	if err != nil {
		return Image{}, err
	}
	creds, err := r.Auth.credentials()
	if err != nil {
		return Image{}, fmt.Errorf("pull %q: %w", n, err)
	}
	id, err := json.Marshal(creds)
	if err != nil {
		return Image{}, err
	}
	sum := sha256.Sum256(id)
	var img Image
	_, err = s.pulls.do(ctx, n.String()+" "+string(sum[:]),
		func(ctx context.Context) (Image, error) { return s.pull(ctx, n, creds) },
		func(i Image) { img = i })
	if err != nil {
		return Image{}, fmt.Errorf("pull %q: %w", n, err)
	}
	return img, nil
}

// credentials reads the CRI's fields.
func (a *Auth) credentials() (registry.Credentials, error) {
	if a == nil {
		return registry.Credentials{}, nil
	}
	c := registry.Credentials{
		Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken,
		RegistryToken: a.RegistryToken, ServerAddress: a.ServerAddress,
	}
	if c.Username == "" && c.Password == "" && a.Auth != "" {
		data, err := base64.StdEncoding.DecodeString(a.Auth)
		user, password, ok := strings.Cut(strings.TrimRight(string(data), "\x00"), ":")
		if err != nil || !ok {
			return c, fmt.Errorf("auth is not base64 of user:password: %w", ErrInvalid)
		}
		c.Username, c.Password = user, password
	}
	return c, nil
}

func (s *Store) pull(ctx context.Context, n name, creds registry.Credentials) (Image, error) {
	repo, err := s.client.Repository(n.registry, n.path, creds)
	if err != nil {
		return Image{}, err
	}
	defer repo.Close()
	f, err := s.resolve(ctx, repo, n)
	if err != nil {
		return Image{}, err
	}
	if err := s.configure(ctx, repo, f); err != nil {
		return Image{}, err
	}
	layers, err := s.unpackAll(ctx, f, registryOrigin{repo})
	if err != nil {
		return Image{}, err
	}
	defer s.release(layers)
	return s.commit(ctx, f, layers)
}

// resolve finds the manifest for this platform. It asks once what a tag is.
func (s *Store) resolve(ctx context.Context, repo *registry.Repository, n name) (*found, error) {
	var m registry.Manifest
	var err error
	if n.digest != "" {
		m, err = s.manifest(ctx, repo, n.digest)
	} else {
		m, err = repo.Tag(ctx, n.tag)
	}
	if err != nil {
		return nil, err
	}
	f := &found{target: m.Digest, blobs: map[digest.Digest][]byte{}}
	if n.digest == "" {
		f.names = append(f.names, n.String())
	}
	f.names = append(f.names, n.at(m.Digest).String())
	get := func(d ocispec.Descriptor) (string, []byte, error) {
		m, err := s.manifest(ctx, repo, d.Digest)
		if err == nil && int64(len(m.Body)) != d.Size {
			err = fmt.Errorf("manifest %q: %d bytes, the index says %d: %w", d.Digest, len(m.Body), d.Size, ErrCorrupt)
		}
		return m.MediaType, m.Body, err
	}
	return f, s.choose(f, m.MediaType, m.Digest, m.Body, get)
}

// manifest gets a manifest by digest. It asks the registry even if the bytes
// are here: whether these credentials may have them is not ours to say.
func (s *Store) manifest(ctx context.Context, repo *registry.Repository, d digest.Digest) (registry.Manifest, error) {
	return repo.Manifest(ctx, d)
}

// choose goes down from a document to the manifest for this platform and
// fills in f. get fetches a document that an index names.
func (s *Store) choose(f *found, mediaType string, d digest.Digest, body []byte,
	get func(ocispec.Descriptor) (string, []byte, error),
) error {
	for depth := 0; ; depth++ {
		doc, err := decodeDocument(mediaType, body)
		if err != nil {
			return fmt.Errorf("manifest %q: %w", d, err)
		}
		f.blobs[d] = body
		if isManifest(mediaType) {
			f.manifest, f.doc = d, doc
			if err := doc.checkImage(s.o.MaxLayers); err != nil {
				return fmt.Errorf("manifest %q: %w", d, err)
			}
			s.keepOnly(f)
			return nil
		}
		if depth == maxIndexes {
			return fmt.Errorf("index %q: more than %d indexes in each other: %w", d, maxIndexes, ErrCorrupt)
		}
		child, err := s.match(doc.Manifests)
		if err != nil {
			return fmt.Errorf("index %q: %w", d, err)
		}
		announced := child.MediaType
		if mediaType, body, err = get(child); err != nil {
			return err
		}
		if mediaType != announced {
			return fmt.Errorf("manifest %q: media type %q, the index says %q: %w", child.Digest, mediaType, announced, ErrCorrupt)
		}
		d = child.Digest
	}
}

// keepOnly drops the indexes between the one that was named and the manifest:
// nothing refers to them.
func (s *Store) keepOnly(f *found) {
	for d := range f.blobs {
		if d != f.target && d != f.manifest {
			delete(f.blobs, d)
		}
	}
}

// match picks the best manifest for this platform. One that names no platform
// is taken when nothing else fits.
func (s *Store) match(list []ocispec.Descriptor) (ocispec.Descriptor, error) {
	best := -1
	var have []string
	for i, d := range list {
		if !isManifest(d.MediaType) && !isIndex(d.MediaType) {
			continue
		}
		if d.Platform != nil {
			have = append(have, platforms.Format(*d.Platform))
			if !s.platform.Match(*d.Platform) {
				continue
			}
		}
		switch {
		case best < 0, list[best].Platform == nil && d.Platform != nil:
			best = i
		case d.Platform != nil && s.platform.Less(*d.Platform, *list[best].Platform):
			best = i
		}
	}
	if best < 0 {
		slices.Sort(have)
		if len(have) > 20 {
			have = append(have[:20], "...")
		}
		return ocispec.Descriptor{}, fmt.Errorf("nothing for platform %s, only for %q: %w",
			s.spec, slices.Compact(have), ErrNotFound)
	}
	return list[best], nil
}

// configure gets the configuration.
func (s *Store) configure(ctx context.Context, repo *registry.Repository, f *found) error {
	data, err := s.blobs.Get(f.id(), registry.MaxConfig)
	if err != nil {
		if f.doc.Config.Size > registry.MaxConfig {
			return fmt.Errorf("config %q: more than %d bytes: %w", f.id(), registry.MaxConfig, ErrCorrupt)
		}
		if data, err = repo.Config(ctx, f.id()); err != nil {
			return err
		}
	}
	return f.setConfig(data)
}

// setConfig checks a configuration, whose digest is known to be right.
func (f *found) setConfig(data []byte) error {
	c, err := decodeConfig(data)
	if err != nil {
		return fmt.Errorf("config %q: %w", f.id(), err)
	}
	if int64(len(data)) != f.doc.Config.Size {
		return fmt.Errorf("config %q: %d bytes, the manifest says %d: %w", f.id(), len(data), f.doc.Config.Size, ErrCorrupt)
	}
	if len(c.RootFS.DiffIDs) != len(f.doc.Layers) {
		return fmt.Errorf("config %q: %d diffIDs for %d layers: %w", f.id(), len(c.RootFS.DiffIDs), len(f.doc.Layers), ErrCorrupt)
	}
	if c.OS != "" && c.OS != "linux" {
		return fmt.Errorf("config %q: image for %q: %w", f.id(), c.OS, ErrNotFound)
	}
	f.config, f.blobs[f.id()] = c, data
	return nil
}

// registryOrigin gets layers from a registry.
type registryOrigin struct{ repo *registry.Repository }

func (o registryOrigin) open(ctx context.Context, d ocispec.Descriptor) (stream, error) {
	b, err := o.repo.Blob(ctx, d.Digest, d.Size)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// stream is a compressed layer that verifies itself: it ends with io.EOF only
// if size and digest are right.
type stream interface {
	io.ReadCloser
	// Distrust says, after ErrCorrupt, whether it is worth another try.
	Distrust() bool
}

// origin is where an image's layers come from.
type origin interface {
	open(ctx context.Context, d ocispec.Descriptor) (stream, error)
}
