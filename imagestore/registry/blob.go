package registry

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

const (
	maxResumes = 40       // of one blob in all
	maxStuck   = 6        // in a row, each with less than progress bytes
	progress   = 64 << 10 // bytes that make a resume worth it
)

// A Blob is a blob while it is being received. It resumes where a connection
// broke, on the next host if need be, and ends with io.EOF only after size and
// digest were found right; until then its bytes are nobody's word. A caller
// that wants the whole blob must read up to io.EOF.
type Blob struct {
	ctx  context.Context // of the one transfer that this is
	repo *Repository
	d    digest.Digest
	size int64
	off  int64
	hash hash.Hash

	from    *endpoint
	body    io.Reader
	end     func() // closes body
	resumes int
	stuck   int
	mark    int64 // off when the connection was made
	err     error
}

// Blob opens a blob. Nothing is read before the first Read but the header.
// Cancelling ctx ends it at once.
func (r *Repository) Blob(ctx context.Context, d digest.Digest, size int64) (*Blob, error) {
	b := &Blob{ctx: ctx, repo: r, d: d, size: size, hash: d.Algorithm().Hash()}
	if err := b.open(); err != nil {
		return nil, fmt.Errorf("blob %q: %w", d, err)
	}
	return b, nil
}

// Close ends the transfer.
func (b *Blob) Close() error {
	if b.end != nil {
		b.end()
	}
	b.end, b.err = nil, errors.Join(b.err, io.ErrClosedPipe)
	return nil
}

// Distrust makes the repository leave out the host that this blob came from,
// and says whether another is left. For a blob that ended with ErrCorrupt.
func (b *Blob) Distrust() bool {
	if b.from != nil {
		b.from.down.Store(true)
	}
	for _, e := range b.repo.endpoints {
		if e.pull && !e.down.Load() {
			return true
		}
	}
	return false
}

// Read implements io.Reader.
func (b *Blob) Read(p []byte) (int, error) {
	for b.err == nil {
		n, err := b.body.Read(p)
		b.off += int64(n)
		b.hash.Write(p[:n])
		if b.off > b.size {
			b.err = b.corrupt("more than %d bytes", b.size)
			return 0, b.err
		}
		if err != nil {
			b.err = b.after(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, b.err
}

// after decides what the end of a body means: done, resume, or an error.
func (b *Blob) after(err error) error {
	if b.ctx.Err() != nil {
		return b.ctx.Err()
	}
	if b.off == b.size {
		if got := digest.NewDigest(b.d.Algorithm(), b.hash); got != b.d {
			return b.corrupt("its digest is %s", got)
		}
		return io.EOF
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // shorter than it should be
	}
	b.end()
	b.end = nil
	if b.off-b.mark >= progress {
		b.stuck = 0
	}
	b.resumes++
	b.stuck++
	if b.resumes > maxResumes || b.stuck > maxStuck {
		return fmt.Errorf("blob %q: %s: cut off after %d of %d bytes, again and again: %w",
			b.d, shown(b.from.url), b.off, b.size, unreachable(err))
	}
	b.repo.o.Log.Info("resuming a blob", "blob", b.d, "host", shown(b.from.url), "offset", b.off, "error", err)
	if err := sleep(b.ctx, jitter(min(firstPause<<b.stuck, maxPause))); err != nil {
		return err
	}
	if err := b.open(); err != nil {
		return fmt.Errorf("blob %q: %w", b.d, err)
	}
	return nil
}

func (b *Blob) corrupt(format string, args ...any) error {
	return fmt.Errorf("blob %q: %s: %s: %w", b.d, shown(b.from.url), fmt.Sprintf(format, args...), ErrCorrupt)
}

// open asks the hosts for the blob from where it stands.
func (b *Blob) open() error {
	return b.repo.each(b.ctx, func(e *endpoint) bool { return e.pull }, b.openAt)
}

func (b *Blob) openAt(e *endpoint) error {
	ctx, cancel := context.WithCancelCause(b.ctx)
	header := http.Header{}
	if b.off > 0 {
		header.Set("Range", "bytes="+strconv.FormatInt(b.off, 10)+"-")
	}
	resp, err := e.get(ctx, "/blobs/"+b.d.String(), header)
	if err != nil {
		cancel(nil)
		return err
	}
	end := func() {
		cancel(nil)
		_ = resp.Body.Close()
	}
	skip := b.off
	if resp.StatusCode == http.StatusPartialContent {
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), "bytes "+strconv.FormatInt(b.off, 10)+"-") {
			end()
			return fmt.Errorf("another range than asked for: %w", ErrCorrupt)
		}
		skip = 0
	}
	body := &named{newWatch(resp.Body, b.repo.o.Idle, cancel), ctx}
	// A host without ranges sends everything again.
	if _, err := io.CopyN(io.Discard, body, skip); err != nil {
		end()
		return unreachable(err)
	}
	b.from, b.body, b.end, b.mark = e, body, end, b.off
	return nil
}

// named gives a stalled body its reason.
type named struct {
	r   io.Reader
	ctx context.Context // of the reply
}

func (n *named) Read(p []byte) (int, error) {
	m, err := n.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = stalled(n.ctx, err)
	}
	return m, err
}
