package imagestore

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/imagestore/blob"
	"slipway/imagestore/layer"
)

const (
	maxMembers = 100_000  // of an archive
	spoolEvery = 64 << 20 // bytes between looks at the free space
)

// spool is an image archive, taken apart into files that are named by number:
// the archive's names are hostile and stay in memory.
type spool struct {
	s       *Store
	dir     string
	members map[string]spooled
	links   map[string]string // docker save links equal layers
}

type spooled struct {
	path   string
	size   int64
	sha256 digest.Digest
}

// newSpool reads an archive to its end. It may be compressed as a whole.
func (s *Store) newSpool(ctx context.Context, r io.Reader) (*spool, error) {
	dir, err := os.MkdirTemp(s.tmpDir(), "import-")
	if err != nil {
		return nil, err
	}
	p := &spool{s: s, dir: dir, members: map[string]spooled{}, links: map[string]string{}}
	if err := p.fill(ctx, r); err != nil {
		p.remove()
		return nil, err
	}
	return p, nil
}

func (p *spool) remove() { p.s.discard(p.dir, p.s.removingDir()) }

func (p *spool) fill(ctx context.Context, r io.Reader) error {
	plain, err := p.s.decoder.Decompress(ctx, &patient{ctx, r})
	if err != nil {
		return notCorrupt(err)
	}
	defer plain.Close()
	bounded := &bounded{r: plain, left: p.s.o.MaxLayerBytes, dir: p.dir, minFree: p.s.o.MinFree}
	t := tar.NewReader(bounded)
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("archive: %w: %w", ErrCorrupt, err)
		}
		if err != nil {
			return notCorrupt(err)
		}
		if n == maxMembers {
			return fmt.Errorf("archive of more than %d members: %w", maxMembers, ErrCorrupt)
		}
		if err := p.member(h, t, n); err != nil {
			return fmt.Errorf("archive member %q: %w", h.Name, err)
		}
	}
}

func (p *spool) member(h *tar.Header, body io.Reader, n int) error {
	name := memberName(h.Name)
	switch h.Typeflag {
	case tar.TypeSymlink:
		p.links[name] = memberName(path.Join(path.Dir(name), h.Linkname))
	case tar.TypeLink:
		p.links[name] = memberName(h.Linkname)
	case tar.TypeReg:
		f, err := os.OpenFile(filepath.Join(p.dir, strconv.Itoa(n)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		hash := sha256.New()
		size, err := io.Copy(io.MultiWriter(f, hash), body)
		if e := f.Close(); err == nil {
			err = e
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("cut short: %w: %w", ErrCorrupt, err)
		}
		if err != nil {
			return notCorrupt(err)
		}
		p.members[name] = spooled{f.Name(), size, digest.NewDigest(digest.SHA256, hash)}
	}
	return nil
}

func memberName(s string) string { return strings.TrimPrefix(path.Clean("/"+s), "/") }

// notCorrupt passes errors of the disk and the stream, and marks those of the
// bytes.
func notCorrupt(err error) error {
	if errors.Is(err, layer.ErrInvalid) || errors.Is(err, layer.ErrLimit) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// find follows links between members.
func (p *spool) find(name string) (spooled, error) {
	at := memberName(name)
	for range 8 {
		if m, ok := p.members[at]; ok {
			return m, nil
		}
		next, ok := p.links[at]
		if !ok {
			break
		}
		at = next
	}
	return spooled{}, fmt.Errorf("archive has no %q: %w", name, ErrCorrupt)
}

func (p *spool) has(name string) bool {
	_, err := p.find(name)
	return err == nil
}

// read returns a small member.
func (p *spool) read(name string, max int64) ([]byte, error) {
	m, err := p.find(name)
	if err != nil {
		return nil, err
	}
	data, err := p.readFile(m, max)
	if err != nil {
		return nil, fmt.Errorf("archive member %q: %w", name, err)
	}
	return data, nil
}

func (p *spool) readFile(m spooled, max int64) ([]byte, error) {
	if m.size > max {
		return nil, fmt.Errorf("more than %d bytes: %w", max, ErrCorrupt)
	}
	return os.ReadFile(m.path)
}

// blob returns the member that holds a blob of an OCI layout, verified.
func (p *spool) blob(d ocispec.Descriptor) (spooled, error) {
	m, err := p.find("blobs/" + d.Digest.Algorithm().String() + "/" + d.Digest.Encoded())
	if err != nil {
		return m, err
	}
	if m.size != d.Size {
		return m, fmt.Errorf("blob %q: %d bytes, its descriptor says %d: %w", d.Digest, m.size, d.Size, ErrCorrupt)
	}
	if d.Digest.Algorithm() == digest.SHA256 {
		if m.sha256 != d.Digest {
			return m, fmt.Errorf("blob %q: its digest is %s: %w", d.Digest, m.sha256, ErrCorrupt)
		}
		return m, nil
	}
	f, err := os.Open(m.path)
	if err != nil {
		return m, err
	}
	defer f.Close()
	if got, err := d.Digest.Algorithm().FromReader(f); err != nil || got != d.Digest {
		return m, fmt.Errorf("blob %q: its digest is %s: %w", d.Digest, got, errors.Join(err, ErrCorrupt))
	}
	return m, nil
}

// spoolOrigin gets layers from an archive; files are where blobs are.
type spoolOrigin struct {
	file func(ocispec.Descriptor) (spooled, error)
}

func (o spoolOrigin) open(_ context.Context, d ocispec.Descriptor) (stream, error) {
	m, err := o.file(d)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(m.path)
	if err != nil {
		return nil, err
	}
	return spoolStream{f}, nil
}

// spoolStream was verified when it was found.
type spoolStream struct{ *os.File }

// Distrust implements stream: there is no other archive.
func (spoolStream) Distrust() bool { return false }

// patient ends a read loop when its request does.
type patient struct {
	ctx context.Context // of the one import
	r   io.Reader
}

func (p *patient) Read(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	return p.r.Read(b)
}

// bounded ends an archive that would fill the disk.
type bounded struct {
	r             io.Reader
	left, minFree int64
	unseen        int64
	dir           string
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n, fmt.Errorf("archive too large: %w", layer.ErrLimit)
	}
	if b.unseen += int64(n); b.unseen >= spoolEvery {
		b.unseen = 0
		free, err := blob.Free(b.dir)
		if err != nil {
			return n, err
		}
		if free < b.minFree {
			return n, fmt.Errorf("%d bytes left on the disk, %d must stay free: %w", free, b.minFree, syscall.ENOSPC)
		}
	}
	return n, err
}
