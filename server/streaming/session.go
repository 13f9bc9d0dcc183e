package streaming

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// session is one client with its streams.
type session struct {
	s    *Server
	e    *entry
	conn *conn

	ctx    context.Context
	cancel context.CancelCauseFunc
	last   atomic.Int64 // when a byte went through, unix nanoseconds
}

// serve answers the URLs of one kind.
func (s *Server) serve(kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		e, limited := s.table.take(kind, r.PathValue("token"))
		switch {
		case limited:
			http.Error(w, "too many wrong tokens", http.StatusTooManyRequests)
			return
		case e == nil:
			http.Error(w, "this URL was used, has expired, or never was one", http.StatusNotFound)
			return
		}
		defer s.table.done(e)
		if !s.enter() {
			http.Error(w, errStopping.Error(), http.StatusServiceUnavailable)
			return
		}
		defer s.work.Done()
		x := s.begin(e, r.Context().Value(connKey{}).(*conn))
		defer x.end()
		r = r.WithContext(x.ctx)
		start := time.Now()
		var err error
		if kind == kindForward {
			err = x.serveForward(w, r)
		} else {
			err = x.serveCommand(w, r)
		}
		s.o.Log.Debug("streaming session", "kind", kind, "owner", e.owner, "took", time.Since(start), "error", err)
	}
}

// enter counts a session in, unless the server is being closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return false
	}
	s.work.Add(1)
	return true
}

// begin ties a connection to a session.
func (s *Server) begin(e *entry, c *conn) *session {
	x := &session{s: s, e: e, conn: c}
	x.ctx, x.cancel = context.WithCancelCause(s.ctx)
	x.touch()
	c.session.Store(x)
	context.AfterFunc(x.ctx, c.hurry)
	s.work.Go(x.watch)
	return x
}

// end lets go of the connection, whatever state the protocol is in.
func (x *session) end() {
	x.cancel(context.Canceled)
	_ = x.conn.Close()
}

// watch ends a session that is idle, or whose client has left while nobody
// reads. Pings are no activity: with them no session would ever be idle.
func (x *session) watch() {
	t := time.NewTicker(min(x.s.o.Look, x.s.o.Idle))
	defer t.Stop()
	for {
		select {
		case <-x.ctx.Done():
			return
		case <-t.C:
		}
		if x.conn.left() {
			x.cancel(errGone)
		}
		if idle := time.Since(time.Unix(0, x.last.Load())); idle >= x.s.o.Idle {
			x.cancel(fmt.Errorf("%w (%v)", errIdle, x.s.o.Idle))
		}
	}
}

func (x *session) touch() { x.last.Store(time.Now().UnixNano()) }

// reader and writer make a stream tell the session of what goes through.
func (x *session) reader(r io.Reader) io.Reader {
	if r == nil {
		return nil
	}
	return &activeReader{r, x}
}

func (x *session) writer(w io.Writer) io.Writer {
	if w == nil {
		return nil
	}
	return &activeWriter{w, x}
}

type activeReader struct {
	io.Reader
	x *session
}

func (a *activeReader) Read(b []byte) (int, error) {
	n, err := a.Reader.Read(b)
	a.x.touch()
	return n, err
}

type activeWriter struct {
	io.Writer
	x *session
}

func (a *activeWriter) Write(b []byte) (int, error) {
	n, err := a.Writer.Write(b)
	a.x.touch()
	return n, err
}

// isWebSocket: else it is SPDY.
func isWebSocket(r *http.Request) bool { return wsstream.IsWebSocketRequest(r) }
