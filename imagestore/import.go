package imagestore

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/imagestore/registry"
)

// containerdName is the annotation with an image's full name; the one of the
// OCI may be a bare tag.
const containerdName = "io.containerd.image.name"

// Import reads a tar with an OCI layout or of docker save, gzip or zstd as a
// whole or plain, and adds the images in it for this platform: all or none.
// One without a name is known by its id only. Verified and shared like a pull.
func (s *Store) Import(ctx context.Context, r io.Reader) ([]Image, error) {
	p, err := s.newSpool(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	defer p.remove()
	var list []*found
	var from origin
	switch {
	case p.has("index.json"):
		from = spoolOrigin{p.blob}
		list, err = s.readOCI(p)
	case p.has("manifest.json"):
		files := map[digest.Digest]spooled{}
		from = spoolOrigin{func(d ocispec.Descriptor) (spooled, error) { return files[d.Digest], nil }}
		list, err = s.readDocker(p, files)
	default:
		err = fmt.Errorf("neither an OCI layout nor an archive of docker save: %w", ErrInvalid)
	}
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	images, err := s.commitAll(ctx, list, from)
	if err == nil {
		err = s.settler.settle() // no registry could give it again
	}
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	return images, nil
}

// commitAll unpacks everything before the first image becomes visible.
func (s *Store) commitAll(ctx context.Context, list []*found, from origin) ([]Image, error) {
	layers := make([][]string, len(list))
	for i, f := range list {
		var err error
		if layers[i], err = s.unpackAll(ctx, f, from); err != nil {
			return nil, err
		}
		defer s.release(layers[i])
	}
	var images []Image
	at := map[string]int{}
	for i, f := range list {
		img, err := s.commit(ctx, f, layers[i])
		if err != nil {
			return images, err
		}
		if j, twice := at[img.ID]; twice {
			images[j] = img // with one name more
			continue
		}
		at[img.ID] = len(images)
		images = append(images, img)
	}
	return images, nil
}

// readOCI finds the images of an OCI layout. Descriptors with the same name
// are one image for several platforms.
func (s *Store) readOCI(p *spool) ([]*found, error) {
	body, err := p.read("index.json", registry.MaxManifest)
	if err != nil {
		return nil, err
	}
	index, err := decodeDocument(ocispec.MediaTypeImageIndex, body)
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	var order []string
	groups := map[string][]ocispec.Descriptor{}
	for i, d := range index.Manifests {
		n, err := annotatedName(d.Annotations)
		if err != nil {
			return nil, err
		}
		if n == "" && d.Platform != nil && !s.platform.Match(*d.Platform) {
			continue
		}
		if n == "" {
			n = fmt.Sprintf("@%d", i) // by itself; no name begins so
		}
		if groups[n] == nil {
			order = append(order, n)
		}
		groups[n] = append(groups[n], d)
	}
	var list []*found
	for _, n := range order {
		f, err := s.readGroup(p, n, groups[n])
		if err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no image for platform %s in the archive: %w", s.spec, ErrNotFound)
	}
	return list, nil
}

func annotatedName(a map[string]string) (string, error) {
	full := a[containerdName]
	if ref := a[ocispec.AnnotationRefName]; full == "" && strings.ContainsAny(ref, "/:") {
		full = ref
	}
	if full == "" {
		return "", nil
	}
	n, err := parseName(full)
	if err != nil {
		return "", err
	}
	return n.String(), nil
}

func (s *Store) readGroup(p *spool, label string, group []ocispec.Descriptor) (*found, error) {
	d, err := s.match(group)
	if err != nil {
		return nil, err
	}
	get := func(d ocispec.Descriptor) (string, []byte, error) {
		m, err := p.blob(d)
		if err != nil {
			return "", nil, err
		}
		body, err := p.readFile(m, registry.MaxManifest)
		return d.MediaType, body, err
	}
	_, body, err := get(d)
	if err != nil {
		return nil, err
	}
	f := &found{target: d.Digest, blobs: map[digest.Digest][]byte{}}
	if !strings.HasPrefix(label, "@") {
		n, err := parseName(label)
		if err != nil {
			return nil, err
		}
		f.names = []string{n.String()}
		if at := n.at(d.Digest).String(); at != n.String() {
			f.names = append(f.names, at)
		}
		if n.digest != "" && n.digest != d.Digest {
			return nil, fmt.Errorf("image %q: its digest is %s: %w", n, d.Digest, ErrCorrupt)
		}
	}
	if err := s.choose(f, d.MediaType, d.Digest, body, get); err != nil {
		return nil, err
	}
	m, err := p.blob(*f.doc.Config)
	if err != nil {
		return nil, err
	}
	config, err := p.readFile(m, registry.MaxConfig)
	if err != nil {
		return nil, err
	}
	return f, f.setConfig(config)
}

// dockerEntry is one image in manifest.json of docker save.
type dockerEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// readDocker finds the images of docker save, and writes the manifests that
// such an archive does not have.
func (s *Store) readDocker(p *spool, files map[digest.Digest]spooled) ([]*found, error) {
	body, err := p.read("manifest.json", registry.MaxManifest)
	if err != nil {
		return nil, err
	}
	if err := checkJSON(body); err != nil {
		return nil, fmt.Errorf("manifest.json: %w", err)
	}
	var entries []dockerEntry
	if err := json.Unmarshal(body, &entries); err != nil {
		return nil, fmt.Errorf("manifest.json: %w: %w", ErrCorrupt, err)
	}
	var list []*found
	for _, e := range entries {
		f, err := s.readEntry(p, e, files)
		if err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no image in the archive: %w", ErrNotFound)
	}
	return list, nil
}

func (s *Store) readEntry(p *spool, e dockerEntry, files map[digest.Digest]spooled) (*found, error) {
	config, err := p.read(e.Config, registry.MaxConfig)
	if err != nil {
		return nil, err
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers: []ocispec.Descriptor{},
	}
	for _, name := range e.Layers {
		l, err := p.find(name)
		if err != nil {
			return nil, err
		}
		files[l.sha256] = l
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: l.sha256, Size: l.size})
	}
	data, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	d := digest.FromBytes(data)
	f := &found{target: d, blobs: map[digest.Digest][]byte{}}
	for _, tag := range e.RepoTags {
		n, err := parseName(tag)
		if err != nil {
			return nil, err
		}
		f.names = append(f.names, n.String())
	}
	if err := s.choose(f, m.MediaType, d, data, nil); err != nil {
		return nil, err
	}
	return f, f.setConfig(config)
}
