package streams

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"

	"golang.org/x/net/websocket"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

const (
	forwardProtocol = "portforward.k8s.io"
	tunnelProtocol  = "SPDY/3.1+" + forwardProtocol
)

// Forwarder is an open session of port-forward.
type Forwarder struct {
	conn httpstream.Connection
	ids  atomic.Int64
}

// Forward opens a session over SPDY.
func Forward(ctx context.Context, url string) (*Forwarder, error) {
	conn, err := dialSPDY(ctx, url, forwardProtocol)
	return &Forwarder{conn: conn}, err
}

// Tunnel opens a session over SPDY inside a WebSocket.
func Tunnel(ctx context.Context, url string) (*Forwarder, error) {
	ws, err := dialWebSocket(ctx, url, tunnelProtocol)
	if err != nil {
		return nil, err
	}
	conn, err := spdy.NewClientConnection(&tunnelConn{ws})
	return &Forwarder{conn: conn}, err
}

// tunnelConn has plain addresses.
type tunnelConn struct{ *websocket.Conn }

func (t *tunnelConn) LocalAddr() net.Addr  { return &net.TCPAddr{} }
func (t *tunnelConn) RemoteAddr() net.Addr { return &net.TCPAddr{} }

// Close goes away.
func (f *Forwarder) Close() error { return f.conn.Close() }

// Stream opens one of a connection's two streams.
func (f *Forwarder) Stream(kind string, port int, id string) (httpstream.Stream, error) {
	return f.conn.CreateStream(http.Header{"Streamtype": {kind}, "Port": {strconv.Itoa(port)}, "Requestid": {id}})
}

// Connect makes a connection to a port. Close of data is a half-close; errs
// tells what went wrong.
func (f *Forwarder) Connect(port int) (data io.ReadWriteCloser, errs io.Reader, err error) {
	id := strconv.FormatInt(f.ids.Add(1), 10)
	e, err := f.Stream("error", port, id)
	if err != nil {
		return nil, nil, err
	}
	_ = e.Close()
	data, err = f.Stream("data", port, id)
	return data, e, err
}
