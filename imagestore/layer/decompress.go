package layer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// A Decoder decompresses layers. It is shared by everything that unpacks on
// this node, because a zstd window over 8 MiB is had by one layer at a time.
type Decoder struct {
	wide chan struct{} // holds one token: the right to a large window
}

// NewDecoder returns a Decoder.
func NewDecoder() *Decoder {
	return &Decoder{wide: make(chan struct{}, 1)}
}

// Decompress returns the plain stream of r, which is gzip, zstd or plain. The
// first bytes decide, not the media type: registries and docker-save archives
// are full of layers whose type is wrong, and the diffID settles it anyway.
// The caller closes the stream, which does not close r.
func (d *Decoder) Decompress(ctx context.Context, r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 128<<10)
	head, err := b.Peek(zstd.HeaderMaxSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b:
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, decodeError("gzip", err)
		}
		return &decoded{r: z, kind: "gzip", close: func() { _ = z.Close() }}, nil
	case isZstd(head):
		return d.zstd(ctx, b, head)
	}
	return io.NopCloser(b), nil
}

func isZstd(head []byte) bool {
	if len(head) < 4 {
		return false
	}
	magic := uint32(head[0]) | uint32(head[1])<<8 | uint32(head[2])<<16 | uint32(head[3])<<24
	return magic == 0xfd2fb528 || magic&0xfffffff0 == 0x184d2a50
}

func (d *Decoder) zstd(ctx context.Context, b *bufio.Reader, head []byte) (io.ReadCloser, error) {
	release, window := func() {}, uint64(smallWindow)
	var h zstd.Header
	if h.Decode(head) == nil && !h.Skippable && h.WindowSize > smallWindow {
		if h.WindowSize > maxWindow {
			return nil, fmt.Errorf("zstd window of %d bytes: %w", h.WindowSize, ErrLimit)
		}
		select {
		case d.wide <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		release, window = func() { <-d.wide }, maxWindow
	}
	z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(window), zstd.WithDecoderMaxMemory(maxWindow))
	if err != nil {
		release()
		return nil, decodeError("zstd", err)
	}
	return &decoded{r: z, kind: "zstd", close: func() { z.Close(); release() }}, nil
}

// decoded says of an error whether it is the decoder's or the source's.
type decoded struct {
	r     io.Reader
	kind  string
	close func()
}

func (d *decoded) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = decodeError(d.kind, err)
	}
	return n, err
}

func (d *decoded) Close() error {
	d.close()
	return nil
}

func decodeError(kind string, err error) error {
	var src *sourceError
	if errors.As(err, &src) {
		return src
	}
	return fmt.Errorf("%s: %w: %w", kind, ErrInvalid, err)
}

// sourceError marks an error of the stream that is being decompressed.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }
