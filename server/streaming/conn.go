package streaming

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// lingerTime is how long an ended connection is read from. Closed with
	// unread input, the kernel would reset it, and what was written last, the
	// exit code, could be lost on the client's side.
	lingerTime = time.Second
	// farewellTime bounds the writes of a session that is told to end.
	farewellTime = 5 * time.Second
)

// listener gives out connections that can be told apart when a handler has one.
type listener struct {
	net.Listener
	s *Server
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, s: l.s}, nil
}

// conn is a client's connection. Once it belongs to a session it ends the
// session's context when the client has gone, and bounds every write.
type conn struct {
	net.Conn
	s *Server

	session atomic.Pointer[session] // nil while HTTP is spoken
	ended   atomic.Bool
	once    sync.Once
}

type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

func (c *conn) Read(b []byte) (int, error) {
	if c.ended.Load() {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(b)
	if err == nil {
		return n, nil
	}
	if c.ended.Load() {
		return n, io.EOF
	}
	if x := c.session.Load(); x != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		x.cancel(errGone)
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	x := c.session.Load()
	if x == nil {
		return c.Conn.Write(b)
	}
	// A client that does not read is as idle as one that says nothing.
	_ = c.SetWriteDeadline(time.Now().Add(c.s.o.Idle))
	if x.ctx.Err() != nil { // hurry may have come before the line above
		c.hurry()
	}
	n, err := c.Conn.Write(b)
	if err != nil {
		x.cancel(errGone)
	}
	return n, err
}

// hurry cuts short a write that is under way.
func (c *conn) hurry() { _ = c.SetWriteDeadline(time.Now().Add(farewellTime)) }

// Close ends the connection; that of a session only when the client has seen
// all that was written, or after lingerTime.
func (c *conn) Close() error {
	if c.session.Load() == nil {
		return c.Conn.Close()
	}
	c.once.Do(func() {
		c.ended.Store(true)
		_ = c.SetReadDeadline(time.Now()) // whoever reads hears of it
		if t, ok := c.Conn.(*net.TCPConn); ok {
			_ = t.CloseWrite()
		}
		c.s.lingerer.Go(func() {
			_ = c.SetReadDeadline(time.Now().Add(lingerTime))
			_, _ = io.Copy(io.Discard, c.Conn)
			_ = c.Conn.Close()
		})
	})
	return nil
}

// States of TCP in which the client has ended the connection; what it sent
// before may still be unread.
const (
	tcpClose     = 7 // by a reset
	tcpCloseWait = 8
)

// left tells whether the client has ended the connection. Clients of these
// protocols half-close streams, never the connection.
func (c *conn) left() bool {
	t, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return true
	}
	left := false
	err = raw.Control(func(fd uintptr) {
		// The first byte of struct tcp_info is the state; this reads four.
		info, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO)
		state := info & 0xff
		left = err == nil && (state == tcpClose || state == tcpCloseWait)
	})
	return left || err != nil
}
