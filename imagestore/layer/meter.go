package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

// source counts what is read of a stream and marks its errors as its own.
type source struct {
	r io.Reader
	n atomic.Int64 // read by the decoding goroutine
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		err = &sourceError{err}
	}
	return n, err
}

// meter bounds the plain stream, absolutely and against the compressed one.
type meter struct {
	ctx    context.Context // of the one Unpack that made it
	r      io.Reader
	in     *source
	limits Limits
	n      int64
}

func (m *meter) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.r.Read(p)
	m.n += int64(n)
	if m.n > m.limits.Bytes {
		return n, fmt.Errorf("more than %d bytes: %w", m.limits.Bytes, ErrLimit)
	}
	if m.n > ratioFrom && m.n/max(m.in.n.Load(), 1) > m.limits.Ratio {
		return n, fmt.Errorf("more than %d times its compressed size: %w", m.limits.Ratio, ErrLimit)
	}
	return n, err
}
