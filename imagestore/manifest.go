package imagestore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/imagestore/blob"
)

const (
	maxDepth    = 64   // of JSON
	maxChildren = 1000 // of an index
	maxIndexes  = 3    // one within the other
)

// The Docker media types that have an OCI twin.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	dockerLayers   = "application/vnd.docker.image.rootfs."
	ociLayers      = "application/vnd.oci.image.layer."
)

func isIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == dockerList
}

func isManifest(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageManifest || mediaType == dockerManifest
}

// document is a manifest or an index; which one, its media type says. A
// document that could be taken for both is refused (CVE-2021-41190).
type document struct {
	SchemaVersion int                  `json:"schemaVersion"`
	MediaType     string               `json:"mediaType"`
	Config        *ocispec.Descriptor  `json:"config"`
	Layers        []ocispec.Descriptor `json:"layers"`
	Manifests     []ocispec.Descriptor `json:"manifests"`
	FSLayers      json.RawMessage      `json:"fsLayers"` // schema 1
}

// decodeDocument decodes and checks a manifest or index that was announced
// with a media type.
func decodeDocument(mediaType string, data []byte) (document, error) {
	var d document
	if err := checkJSON(data); err != nil {
		return d, err
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return d, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	bad := func(format string, args ...any) (document, error) {
		return document{}, fmt.Errorf(format+": %w", append(args, ErrCorrupt)...)
	}
	switch {
	case !isIndex(mediaType) && !isManifest(mediaType):
		return bad("media type %q is not that of an image", mediaType)
	case d.MediaType != "" && d.MediaType != mediaType:
		return bad("media type %q in the document, %q announced", d.MediaType, mediaType)
	case d.SchemaVersion != 2 || d.FSLayers != nil:
		return bad("schema version %d, want 2", d.SchemaVersion)
	case isIndex(mediaType) && (d.Layers != nil || d.Config != nil):
		return bad("an index with layers")
	case isManifest(mediaType) && d.Manifests != nil:
		return bad("a manifest with manifests")
	case isManifest(mediaType) && d.Config == nil:
		return bad("a manifest without a configuration")
	case len(d.Manifests) > maxChildren:
		return bad("an index of %d manifests", len(d.Manifests))
	}
	for _, c := range d.Manifests {
		if err := checkDescriptor(c); err != nil {
			return document{}, err
		}
	}
	return d, nil
}

// checkImage checks what a manifest is made of. An artifact that is not a
// container image ends here, with a name for what it is.
func (d document) checkImage(maxLayers int) error {
	if t := d.Config.MediaType; t != ocispec.MediaTypeImageConfig && t != dockerConfig {
		return fmt.Errorf("configuration of type %q: not a container image: %w", t, ErrCorrupt)
	}
	if len(d.Layers) > maxLayers {
		return fmt.Errorf("%d layers, at most %d are supported: %w", len(d.Layers), maxLayers, ErrCorrupt)
	}
	for _, l := range append([]ocispec.Descriptor{*d.Config}, d.Layers...) {
		if err := checkDescriptor(l); err != nil {
			return err
		}
	}
	for _, l := range d.Layers {
		if !strings.HasPrefix(l.MediaType, ociLayers) && !strings.HasPrefix(l.MediaType, dockerLayers) {
			return fmt.Errorf("layer of type %q: not a container image: %w", l.MediaType, ErrCorrupt)
		}
		if strings.HasSuffix(l.MediaType, "+encrypted") {
			return fmt.Errorf("layer %q is encrypted: %w", l.Digest, ErrCorrupt)
		}
	}
	return nil
}

func checkDescriptor(d ocispec.Descriptor) error {
	if err := blob.Check(d.Digest); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if d.Size < 0 || d.Size > 1<<50 {
		return fmt.Errorf("%q of %d bytes: %w", d.Digest, d.Size, ErrCorrupt)
	}
	return nil
}

// configFile is an image configuration, decoded and checked.
type configFile struct {
	ocispec.Image
	chain []digest.Digest // chain ids, bottom first
}

func decodeConfig(data []byte) (configFile, error) {
	var c configFile
	if err := checkJSON(data); err != nil {
		return c, err
	}
	if err := json.Unmarshal(data, &c.Image); err != nil {
		return c, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if c.RootFS.Type != "layers" {
		return c, fmt.Errorf("root file system of type %q: %w", c.RootFS.Type, ErrCorrupt)
	}
	for i, d := range c.RootFS.DiffIDs {
		if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
			return c, fmt.Errorf("diffID %q is not a sha256 digest: %w", d, ErrCorrupt)
		}
		if i == 0 {
			c.chain = append(c.chain, d)
			continue
		}
		c.chain = append(c.chain, digest.FromString(c.chain[i-1].String()+" "+d.String()))
	}
	return c, nil
}

// checkJSON refuses what two readers could read as two things: a key that
// occurs twice, at the top also in another case, and depth that costs stack.
func checkJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	var open []map[string]struct{} // keys seen; nil for an array
	key := false                   // the next string is a key
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			if len(open) > 0 {
				return fmt.Errorf("document cut short: %w", ErrCorrupt)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		switch v := t.(type) {
		case json.Delim:
			switch v {
			case '{':
				open = append(open, map[string]struct{}{})
			case '[':
				open = append(open, nil)
			default:
				open = open[:len(open)-1]
			}
			if len(open) > maxDepth {
				return fmt.Errorf("document deeper than %d: %w", maxDepth, ErrCorrupt)
			}
		case string:
			if key {
				if len(open) == 1 {
					v = strings.ToLower(v)
				}
				seen := open[len(open)-1]
				if _, twice := seen[v]; twice {
					return fmt.Errorf("key %q twice: %w", v, ErrCorrupt)
				}
				seen[v] = struct{}{}
				key = false
				continue
			}
		}
		key = len(open) > 0 && open[len(open)-1] != nil
	}
}
