package registry

import (
	"context"
	_ "crypto/sha256" // digests are sha256 or sha512
	_ "crypto/sha512"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"
)

// Bounds of the documents, in bytes.
const (
	MaxManifest = 4 << 20
	MaxConfig   = 8 << 20
)

// MediaTypes are the manifests that are asked for.
var MediaTypes = []string{
	"application/vnd.oci.image.index.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
	"application/vnd.oci.image.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.v2+json",
}

// A Manifest is a manifest or index as a registry sent it. Its digest is that
// of its bytes; what is in them is not looked at here.
type Manifest struct {
	MediaType string
	Digest    digest.Digest
	Body      []byte
}

// Tag asks what a tag is.
func (r *Repository) Tag(ctx context.Context, tag string) (Manifest, error) {
	return r.manifest(ctx, tag, "", func(e *endpoint) bool { return e.resolve && e.pull })
}

// Manifest gets a manifest by its digest.
func (r *Repository) Manifest(ctx context.Context, d digest.Digest) (Manifest, error) {
	return r.manifest(ctx, d.String(), d, func(e *endpoint) bool { return e.pull })
}

func (r *Repository) manifest(ctx context.Context, ref string, want digest.Digest, may func(*endpoint) bool) (Manifest, error) {
	var m Manifest
	err := r.each(ctx, may, func(e *endpoint) (err error) {
		m, err = e.manifest(ctx, ref, want)
		return err
	})
	if err != nil {
		return Manifest{}, fmt.Errorf("manifest %q: %w", ref, err)
	}
	return m, nil
}

func (e *endpoint) manifest(ctx context.Context, ref string, want digest.Digest) (Manifest, error) {
	resp, body, err := e.document(ctx, "/manifests/"+ref, http.Header{"Accept": MediaTypes}, MaxManifest)
	if err != nil {
		return Manifest{}, err
	}
	m := Manifest{Digest: want, Body: body}
	if want == "" {
		m.Digest = digest.FromBytes(body)
	}
	// A host that names another digest than the one of its bytes is broken.
	said := digest.Digest(resp.Header.Get("Docker-Content-Digest"))
	if said.Validate() == nil && said.Algorithm() == m.Digest.Algorithm() && said != m.Digest {
		return Manifest{}, fmt.Errorf("digest of the reply is not %s: %w", said, ErrCorrupt)
	}
	if got := m.Digest.Algorithm().FromBytes(body); got != m.Digest {
		return Manifest{}, fmt.Errorf("digest of the reply is %s: %w", got, ErrCorrupt)
	}
	m.MediaType, _, err = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return Manifest{}, fmt.Errorf("reply without a usable media type: %w", ErrCorrupt)
	}
	return m, nil
}

// Config gets a small blob and verifies it.
func (r *Repository) Config(ctx context.Context, d digest.Digest) ([]byte, error) {
	var data []byte
	err := r.each(ctx, func(e *endpoint) bool { return e.pull }, func(e *endpoint) error {
		_, body, err := e.document(ctx, "/blobs/"+d.String(), nil, MaxConfig)
		if err != nil {
			return err
		}
		if got := d.Algorithm().FromBytes(body); got != d {
			return fmt.Errorf("digest of the reply is %s: %w", got, ErrCorrupt)
		}
		data = body
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("config %q: %w", d, err)
	}
	return data, nil
}

// document reads a whole reply of at most max bytes.
func (e *endpoint) document(ctx context.Context, path string, header http.Header, max int64) (*http.Response, []byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The header may take its time (a pull-through mirror), but not forever.
	late := time.AfterFunc(2*e.repo.o.Idle, func() { cancel(errStalled) })
	defer late.Stop()
	resp, err := e.get(ctx, path, header)
	if err != nil {
		return nil, nil, stalled(ctx, err)
	}
	defer resp.Body.Close()
	w := newWatch(resp.Body, e.repo.o.Idle, cancel)
	body, err := io.ReadAll(io.LimitReader(w, max+1))
	if err != nil {
		return nil, nil, stalled(ctx, unreachable(err))
	}
	if int64(len(body)) > max {
		return nil, nil, fmt.Errorf("reply of more than %d bytes: %w", max, ErrCorrupt)
	}
	return resp, body, nil
}
