package registrytest

import (
	"archive/tar"
	"encoding/json"
	"io"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// WriteOCI writes an OCI-layout tar with the image or index under each of the
// names; without names it is there without one. A full name
// ("docker.io/library/x:1") goes into io.containerd.image.name, anything else
// ("1") into org.opencontainers.image.ref.name.
func (b *Built) WriteOCI(w io.Writer, names ...string) error {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	if len(names) == 0 {
		index.Manifests = append(index.Manifests, b.Descriptor())
	}
	for _, name := range names {
		d := b.Descriptor()
		key := ocispec.AnnotationRefName
		if slices.Contains([]byte(name), '/') {
			key = "io.containerd.image.name"
		}
		d.Annotations = map[string]string{key: name}
		index.Manifests = append(index.Manifests, d)
	}
	doc, err := json.Marshal(index)
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	if err := member(t, ocispec.ImageLayoutFile, []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	if err := member(t, "index.json", doc); err != nil {
		return err
	}
	blobs := map[digest.Digest][]byte{}
	b.collect(blobs)
	for _, d := range slices.Sorted(maps.Keys(blobs)) {
		if err := member(t, "blobs/"+d.Algorithm().String()+"/"+d.Encoded(), blobs[d]); err != nil {
			return err
		}
	}
	return t.Close()
}

// WriteDocker writes a docker-save tar of an image, with tags.
func (b *Built) WriteDocker(w io.Writer, tags ...string) error {
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	e := entry{Config: b.Config.Encoded() + ".json", RepoTags: tags}
	t := tar.NewWriter(w)
	for _, p := range b.plain {
		name := digest.FromBytes(p).Encoded() + "/layer.tar"
		e.Layers = append(e.Layers, name)
		if err := member(t, name, p); err != nil {
			return err
		}
	}
	if err := member(t, e.Config, b.Blobs[b.Config]); err != nil {
		return err
	}
	doc, err := json.Marshal([]entry{e})
	if err != nil {
		return err
	}
	if err := member(t, "manifest.json", doc); err != nil {
		return err
	}
	return t.Close()
}

func (b *Built) collect(blobs map[digest.Digest][]byte) {
	blobs[b.Digest] = b.Document
	maps.Copy(blobs, b.Blobs)
	for _, c := range b.Children {
		c.collect(blobs)
	}
}

func member(t *tar.Writer, name string, data []byte) error {
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := t.Write(data)
	return err
}
