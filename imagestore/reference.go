package imagestore

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"slipway/imagestore/blob"
)

// A name is a normalized reference.
type name struct {
	registry string // "docker.io", "localhost:5000"
	path     string // "library/busybox"
	tag      string // one of tag and digest is set
	digest   digest.Digest
}

// maxReference bounds a reference in bytes; the grammar allows 255 for the
// name and 128 for the tag.
const maxReference = 1024

// parseName normalizes a reference: docker.io and library/ are added, and
// :latest where neither tag nor digest is given. With both the digest decides
// and the tag is dropped.
func parseName(s string) (name, error) {
	if len(s) > maxReference {
		return name{}, fmt.Errorf("image reference of %d bytes: %w", len(s), ErrInvalid)
	}
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return name{}, fmt.Errorf("image reference %q: %w: %w", s, ErrInvalid, err)
	}
	n := name{registry: reference.Domain(named), path: reference.Path(named)}
	if d, ok := named.(reference.Digested); ok {
		if err := blob.Check(d.Digest()); err != nil {
			return name{}, fmt.Errorf("image reference %q: %w: %w", s, ErrInvalid, err)
		}
		n.digest = d.Digest()
		return n, nil
	}
	n.tag = "latest"
	if t, ok := named.(reference.Tagged); ok {
		n.tag = t.Tag()
	}
	return n, nil
}

func (n name) repository() string { return n.registry + "/" + n.path }

func (n name) String() string {
	if n.digest != "" {
		return n.repository() + "@" + n.digest.String()
	}
	return n.repository() + ":" + n.tag
}

// at is the name of a digest in the same repository.
func (n name) at(d digest.Digest) name {
	return name{registry: n.registry, path: n.path, digest: d}
}

var hexPrefix = regexp.MustCompile(`^[0-9a-f]{1,64}$`)

// idPrefix reads ref as an image id or the beginning of one. sure says that it
// can be nothing else.
func idPrefix(ref string) (prefix string, sure, ok bool) {
	rest, sure := strings.CutPrefix(ref, "sha256:")
	return rest, sure || len(rest) == 64, hexPrefix.MatchString(rest)
}

// digestOf is the digest that an image id is.
func digestOf(id string) digest.Digest { return digest.Digest(id) }
