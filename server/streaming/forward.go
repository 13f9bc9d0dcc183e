package streaming

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"

	"golang.org/x/net/websocket"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// serveForward forwards connections until the client has gone.
func (x *session) serveForward(w http.ResponseWriter, r *http.Request) error {
	switch {
	case isWebSocket(r) && wsstream.IsWebSocketRequestWithTunnelingProtocol(r):
		return x.forwardTunnel(w, r)
	case isWebSocket(r):
		return x.forwardChannels(w, r)
	}
	if _, err := httpstream.Handshake(r, w, portforward.SupportedProtocols); err != nil {
		return err
	}
	p := newPairs(x)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, p.arrived)
	if conn == nil {
		return errUpgrade
	}
	return p.serve(conn)
}

// forwardTunnel serves SPDY inside a WebSocket, as kubectl and crictl speak it.
func (x *session) forwardTunnel(w http.ResponseWriter, r *http.Request) (err error) {
	err = errUpgrade
	websocket.Server{
		Handshake: func(c *websocket.Config, _ *http.Request) error {
			if !slices.Contains(c.Protocol, portforward.WebsocketsSPDYTunnelingPortForwardV1) {
				return fmt.Errorf("none of the protocols %q is spoken here", c.Protocol)
			}
			c.Protocol = []string{portforward.WebsocketsSPDYTunnelingPortForwardV1}
			return nil
		},
		Handler: func(ws *websocket.Conn) {
			ws.PayloadType = websocket.BinaryFrame
			p := newPairs(x)
			var conn httpstream.Connection
			if conn, err = spdy.NewServerConnection(&tunnel{ws, x.conn}, p.arrived); err == nil {
				err = p.serve(conn)
			}
		},
	}.ServeHTTP(w, r)
	return err
}

// tunnel is a WebSocket as a connection: messages are parts of one stream.
type tunnel struct {
	*websocket.Conn
	c *conn
}

// LocalAddr is that of the connection; the WebSocket's needs an Origin.
func (t *tunnel) LocalAddr() net.Addr { return t.c.LocalAddr() }

// RemoteAddr likewise.
func (t *tunnel) RemoteAddr() net.Addr { return t.c.RemoteAddr() }

// forwardChannels serves the first WebSocket protocol, with two channels a port.
func (x *session) forwardChannels(w http.ResponseWriter, r *http.Request) error {
	for _, port := range x.e.ports {
		if port < 1 || port > maxPort {
			http.Error(w, fmt.Sprintf("port %d", port), http.StatusBadRequest)
			return fmt.Errorf("port %d", port)
		}
	}
	portforward.ServePortForward(w, r, forwarder{x}, "", "", &portforward.V4Options{Ports: x.e.ports}, 0, x.s.o.Open, portforward.SupportedProtocols)
	return nil
}

const maxPort = 1<<16 - 1

// forwarder is what cri-streaming calls; it brings a context that never ends.
type forwarder struct{ x *session }

// PortForward forwards one connection.
func (f forwarder) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	return f.x.e.forward(f.x.ctx, uint16(port), &activeStream{stream, f.x})
}

// activeStream tells the session of what goes through.
type activeStream struct {
	io.ReadWriteCloser
	x *session
}

func (a *activeStream) Read(b []byte) (int, error) {
	n, err := a.ReadWriteCloser.Read(b)
	a.x.touch()
	return n, err
}

func (a *activeStream) Write(b []byte) (int, error) {
	n, err := a.ReadWriteCloser.Write(b)
	a.x.touch()
	return n, err
}
