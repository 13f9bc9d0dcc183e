package layer

import (
	"io"
	"sync"
)

// ahead reads r in a goroutine of its own, a few buffers ahead, so that
// decompressing and writing overlap. Close ends the goroutine once the Read
// that it sits in returns, and waits for it; who closes must see to it that r
// ends too.
type ahead struct {
	full chan piece
	free chan []byte
	stop chan struct{}
	done sync.WaitGroup
	cur  piece
	rest []byte
}

type piece struct {
	buf []byte // to be given back
	n   int
	err error
}

func readAhead(r io.Reader, buffers, size int) *ahead {
	a := &ahead{
		full: make(chan piece, buffers),
		free: make(chan []byte, buffers),
		stop: make(chan struct{}),
	}
	for range buffers {
		a.free <- make([]byte, size)
	}
	a.done.Go(func() { a.fill(r) })
	return a
}

func (a *ahead) fill(r io.Reader) {
	defer close(a.full)
	for {
		var buf []byte
		select {
		case buf = <-a.free:
		case <-a.stop:
			return
		}
		n, err := readFull(r, buf)
		a.full <- piece{buf: buf, n: n, err: err} // never blocks: as many slots as buffers
		if err != nil {
			return
		}
	}
}

// readFull fills buf. Unlike io.ReadFull it keeps the reader's own error: a
// body cut short (io.ErrUnexpectedEOF) must not look like its end.
func readFull(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}

// Read implements io.Reader.
func (a *ahead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.cur.err != nil {
			return 0, a.cur.err
		}
		if a.cur.buf != nil {
			a.free <- a.cur.buf
		}
		next, ok := <-a.full
		if !ok {
			return 0, io.ErrClosedPipe
		}
		a.cur, a.rest = next, next.buf[:next.n]
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// Close implements io.Closer.
func (a *ahead) Close() error {
	close(a.stop)
	a.done.Wait()
	return nil
}
