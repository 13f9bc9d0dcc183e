package registrytest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"runtime"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A File is one member of a layer. Only Name is needed: a name that ends in a
// slash is a directory, one with a Link is a symbolic link, any other is a
// regular file.
type File struct {
	Name     string
	Body     string
	Link     string
	Type     byte  // a tar type, where the rule above does not do
	Mode     int64 // 0 is 0755 for directories and 0644 for files
	UID, GID int
	Major    int64
	Minor    int64
	Xattrs   map[string]string
}

// An Image describes an image for this machine's platform with gzip layers and
// OCI media types, unless it says otherwise.
type Image struct {
	Layers      [][]File
	Tars        [][]byte // further layers, as plain tars
	Config      ocispec.ImageConfig
	Platform    *ocispec.Platform
	Compression string          // "gzip", "zstd" or "none"; "" is gzip
	Docker      bool            // Docker v2 schema 2 media types
	DiffIDs     []digest.Digest // in place of the true ones, to lie
}

// A Built image or index: its document, and every blob that it needs.
type Built struct {
	MediaType string
	Document  []byte // the manifest or index
	Digest    digest.Digest
	Config    digest.Digest // of an image; its ID
	Layers    []ocispec.Descriptor
	Blobs     map[digest.Digest][]byte
	Children  []*Built // of an index
	Platform  *ocispec.Platform

	plain [][]byte // layers as tars
}

const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	dockerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// Tar writes a layer.
func Tar(files []File) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := header(f)
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("file %q: %w", f.Name, err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, f.Body); err != nil {
				return nil, err
			}
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

func header(f File) *tar.Header {
	h := &tar.Header{
		Name: f.Name, Linkname: f.Link, Typeflag: f.Type, Mode: f.Mode, Uid: f.UID, Gid: f.GID,
		Devmajor: f.Major, Devminor: f.Minor, ModTime: time.Unix(1_700_000_000, 0), Format: tar.FormatPAX,
	}
	if h.Typeflag == 0 {
		switch {
		case f.Link != "":
			h.Typeflag = tar.TypeSymlink
		case len(f.Name) > 0 && f.Name[len(f.Name)-1] == '/':
			h.Typeflag = tar.TypeDir
		default:
			h.Typeflag = tar.TypeReg
		}
	}
	if h.Typeflag == tar.TypeReg {
		h.Size = int64(len(f.Body))
	}
	if h.Mode == 0 {
		h.Mode = 0o644
		if h.Typeflag == tar.TypeDir {
			h.Mode = 0o755
		}
	}
	for k, v := range f.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+k] = v
	}
	return h
}

// Build makes the blobs of an image.
func (i Image) Build() (*Built, error) {
	b := &Built{Blobs: map[digest.Digest][]byte{}, MediaType: ocispec.MediaTypeImageManifest, Platform: i.platform()}
	for _, files := range i.Layers {
		t, err := Tar(files)
		if err != nil {
			return nil, err
		}
		b.plain = append(b.plain, t)
	}
	b.plain = append(b.plain, i.Tars...)
	diffIDs := []digest.Digest{}
	for _, t := range b.plain {
		diffIDs = append(diffIDs, digest.FromBytes(t))
		data, err := i.compress(t)
		if err != nil {
			return nil, err
		}
		b.Layers = append(b.Layers, b.add(i.layerType(), data))
	}
	if i.DiffIDs != nil {
		diffIDs = i.DiffIDs
	}
	config, err := json.Marshal(ocispec.Image{
		Platform: *b.Platform, Config: i.Config,
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: diffIDs},
	})
	if err != nil {
		return nil, err
	}
	configType := ocispec.MediaTypeImageConfig
	if i.Docker {
		b.MediaType, configType = dockerManifest, dockerConfig
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: b.MediaType,
		Config: b.add(configType, config), Layers: b.Layers,
	}
	if m.Layers == nil {
		m.Layers = []ocispec.Descriptor{}
	}
	b.Config = m.Config.Digest
	return b, b.document(m)
}

func (i Image) platform() *ocispec.Platform {
	if i.Platform != nil {
		return i.Platform
	}
	return &ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
}

func (i Image) layerType() string {
	switch {
	case i.Docker:
		return dockerLayer
	case i.Compression == "zstd":
		return ocispec.MediaTypeImageLayerZstd
	case i.Compression == "none":
		return ocispec.MediaTypeImageLayer
	}
	return ocispec.MediaTypeImageLayerGzip
}

func (i Image) compress(data []byte) ([]byte, error) {
	var b bytes.Buffer
	var w io.WriteCloser
	switch i.Compression {
	case "none":
		return data, nil
	case "zstd":
		z, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		w = z
	default:
		w = gzip.NewWriter(&b)
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	err := w.Close()
	return b.Bytes(), err
}

func (b *Built) add(mediaType string, data []byte) ocispec.Descriptor {
	d := digest.FromBytes(data)
	b.Blobs[d] = data
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

func (b *Built) document(v any) error {
	data, err := json.Marshal(v)
	b.Document, b.Digest = data, digest.FromBytes(data)
	return err
}

// Descriptor describes the document.
func (b *Built) Descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: b.MediaType, Digest: b.Digest, Size: int64(len(b.Document)), Platform: b.Platform}
}

// Index puts images, or indexes, into an index.
func Index(children ...*Built) (*Built, error) {
	b := &Built{Blobs: map[digest.Digest][]byte{}, MediaType: ocispec.MediaTypeImageIndex, Children: children}
	if len(children) > 0 && children[0].MediaType == dockerManifest {
		b.MediaType = dockerList
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: b.MediaType}
	for _, c := range children {
		index.Manifests = append(index.Manifests, c.Descriptor())
		maps.Copy(b.Blobs, c.Blobs)
	}
	return b, b.document(index)
}
