package streams

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"

	"golang.org/x/net/websocket"
)

// The protocols of a session over WebSocket. Only V5 has a half-close.
const (
	V4 = "v4.channel.k8s.io"
	V5 = "v5.channel.k8s.io"
)

// Numbers of the channels.
const (
	chanIn, chanOut, chanErr, chanStatus, chanResize = 0, 1, 2, 3, 4
	chanClose                                        = 255
)

// WebSocket opens a session.
func WebSocket(ctx context.Context, address, protocol string, w Want) (*Session, error) {
	ws, err := dialWebSocket(ctx, address, protocol)
	if err != nil {
		return nil, err
	}
	s := &Session{resize: &channel{ws: ws, n: chanResize}}
	if w.Stdin {
		s.In = &channel{ws: ws, n: chanIn, v5: protocol == V5}
	}
	buffers := map[byte]*buffer{}
	open := func(n byte) io.Reader {
		buffers[n] = &buffer{more: make(chan struct{}, 1)}
		return buffers[n]
	}
	s.Status = open(chanStatus)
	if w.Stdout {
		s.Out = open(chanOut)
	}
	if w.Stderr {
		s.Err = open(chanErr)
	}
	s.close = ws.Close
	go func() { // ends with the connection
		for {
			var b []byte
			if err := websocket.Message.Receive(ws, &b); err != nil {
				for _, to := range buffers {
					to.add(nil, true)
				}
				return
			}
			if len(b) > 1 && buffers[b[0]] != nil {
				buffers[b[0]].add(b[1:], false)
			}
		}
	}()
	return s, nil
}

// buffer holds what has come on a channel until it is read: one that is not
// read must not hold up the others. One reader.
type buffer struct {
	mu    sync.Mutex
	data  []byte
	ended bool
	more  chan struct{}
}

func (b *buffer) add(data []byte, end bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data, b.ended = append(b.data, data...), b.ended || end
	select {
	case b.more <- struct{}{}:
	default:
	}
}

func (b *buffer) Read(p []byte) (int, error) {
	for {
		b.mu.Lock()
		n := copy(p, b.data)
		b.data = b.data[n:]
		ended := b.ended
		b.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		if ended {
			return 0, io.EOF
		}
		<-b.more
	}
}

// channel is one that we write to.
type channel struct {
	ws *websocket.Conn
	n  byte
	v5 bool
}

func (c *channel) Write(b []byte) (int, error) {
	return len(b), websocket.Message.Send(c.ws, append([]byte{c.n}, b...))
}

func (c *channel) Close() error {
	if !c.v5 {
		return errors.New("this protocol has no half-close")
	}
	return websocket.Message.Send(c.ws, []byte{chanClose, c.n})
}

// dialWebSocket upgrades a connection without naming an Origin, which only
// browsers have.
func dialWebSocket(ctx context.Context, address, protocol string) (*websocket.Conn, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	config, err := websocket.NewConfig(strings.Replace(address, "http", "ws", 1), "http://none")
	if err != nil {
		return nil, err
	}
	config.Protocol = []string{protocol}
	dial := new(net.Dialer).DialContext
	if u.Scheme == "https" {
		dial = (&tls.Dialer{Config: anyone()}).DialContext
	}
	conn, err := dial(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	ws, err := websocket.NewClient(config, &withoutOrigin{Conn: conn})
	if err != nil {
		conn.Close()
		return nil, err
	}
	ws.PayloadType = websocket.BinaryFrame
	return ws, nil
}

// withoutOrigin takes a header out of what is written first.
type withoutOrigin struct {
	net.Conn
	once sync.Once
}

func (w *withoutOrigin) Write(b []byte) (int, error) {
	n := len(b)
	w.once.Do(func() { b = bytes.Replace(b, []byte("Origin: http://none\r\n"), nil, 1) })
	if _, err := w.Conn.Write(b); err != nil {
		return 0, err
	}
	return n, nil
}
