package streaming

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/streaming/pkg/httpstream"
)

var errUpgrade = errors.New("the upgrade failed")

// maxPairs bounds the connections forwarded at one time in a session.
const maxPairs = 1000

// pairs are the forwarded connections of a session over SPDY. Each is a stream
// for its bytes and one for what went wrong, tied by an id that the client chose.
type pairs struct {
	x    *session
	work sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	conn   httpstream.Connection
	closed bool
	half   map[string]*pair // one stream is there
	n      int
}

type pair struct {
	port       uint16
	data, errs httpstream.Stream
	told       []<-chan struct{} // closed when the client was told that its stream is taken
	late       *time.Timer
}

func newPairs(x *session) *pairs { return &pairs{x: x, half: map[string]*pair{}} }

// serve waits for the end of the connection or of the session.
func (p *pairs) serve(conn httpstream.Connection) error {
	p.mu.Lock()
	p.conn = conn
	p.mu.Unlock()
	select {
	case <-conn.CloseChan():
		p.x.cancel(errGone)
	case <-p.x.ctx.Done():
	}
	p.mu.Lock()
	p.closed = true
	for _, h := range p.half {
		h.late.Stop()
	}
	p.half = nil
	p.mu.Unlock()
	_ = conn.Close() // resets what is open
	_ = p.x.conn.Close()
	p.work.Wait()
	if err := context.Cause(p.x.ctx); !errors.Is(err, errGone) {
		return err
	}
	return nil
}

// arrived takes a stream that the client has opened. It does not wait: the
// connection's reader is behind it.
func (p *pairs) arrived(s httpstream.Stream, told <-chan struct{}) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil // reset with the connection
	}
	if err := p.take(s, told); err != nil {
		// A connection that ends before the reply leaves the client waiting for it.
		p.work.Go(func() {
			<-told
			p.x.cancel(err)
		})
	}
	return nil
}

// take puts a stream to its pair. The caller holds the lock.
func (p *pairs) take(s httpstream.Stream, told <-chan struct{}) error {
	port, err := strconv.ParseUint(s.Headers().Get(portforward.PortHeader), 10, 16)
	kind := s.Headers().Get(portforward.StreamType)
	if err != nil || port == 0 || kind != portforward.StreamTypeData && kind != portforward.StreamTypeError {
		return fmt.Errorf("%w: port %q, type %q", errStreams, s.Headers().Get(portforward.PortHeader), kind)
	}
	id := requestID(s, kind)
	h := p.half[id]
	if h == nil {
		if p.n >= maxPairs {
			return fmt.Errorf("%w: more than %d connections", ErrTooMany, maxPairs)
		}
		p.n++
		h = &pair{port: uint16(port)}
		h.late = time.AfterFunc(p.x.s.o.Open, func() { p.drop(id, h) })
		p.half[id] = h
	}
	switch {
	case kind == portforward.StreamTypeData && h.data == nil:
		h.data = s
	case kind == portforward.StreamTypeError && h.errs == nil:
		h.errs = s
	default:
		return fmt.Errorf("%w: two of one kind for request %q", errStreams, id)
	}
	h.told = append(h.told, told)
	if h.data != nil && h.errs != nil && h.late.Stop() {
		delete(p.half, id)
		p.work.Go(func() { p.forward(h) })
	}
	return nil
}

// requestID ties two streams. Clients from before there were ids open the data
// stream right after the other, which makes its number greater by two.
func requestID(s httpstream.Stream, kind string) string {
	if id := s.Headers().Get(portforward.PortForwardRequestIDHeader); id != "" {
		return id
	}
	n := s.Identifier()
	if kind == portforward.StreamTypeData {
		n -= 2
	}
	return "stream " + strconv.FormatUint(uint64(n), 10)
}

// drop gives up on a pair of which one stream never came.
func (p *pairs) drop(id string, h *pair) {
	p.mu.Lock()
	if p.half[id] == h {
		delete(p.half, id)
	}
	p.mu.Unlock()
	p.over(h)
}

// forward carries one connection.
func (p *pairs) forward(h *pair) {
	x := p.x
	x.touch()
	// A reset that overtakes the reply looks to the client like a stream that
	// was never taken, and it does not read what went wrong.
	for _, told := range h.told {
		<-told
	}
	err := x.e.forward(x.ctx, h.port, &activeStream{h.data, x})
	if err != nil {
		_, _ = h.errs.Write([]byte(err.Error()))
		_ = h.errs.Close()
		_ = h.data.Reset()
	} else {
		_ = h.data.Close()
		_ = h.errs.Close()
	}
	p.over(h)
}

// over lets go of a pair's streams, also of those that the client keeps open.
func (p *pairs) over(h *pair) {
	p.mu.Lock()
	p.n--
	conn := p.conn
	p.mu.Unlock()
	for _, s := range []httpstream.Stream{h.data, h.errs} {
		if s == nil {
			continue
		}
		_ = s.Reset()
		if conn != nil {
			conn.RemoveStreams(s)
		}
	}
}
