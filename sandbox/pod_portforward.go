package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"slipway/sandbox/linux"
)

// dialLimit bounds a connection to a port of a pod; on loopback it is made or
// refused at once, unless a rule drops it.
const dialLimit = 10 * time.Second

// PortForward connects a stream with a TCP port of a pod's loopback, IPv4 or
// IPv6, until both directions have ended or one fails. Close of the stream must
// be a half-close. For a pod on the host's network that is the host's loopback.
//
// Errors: ErrNotFound, ErrState (the pod is not ready), and why nothing answers.
func (p *Pods) PortForward(ctx context.Context, podID string, port uint16, stream io.ReadWriteCloser) error {
	s, err := p.pod(podID)
	if err != nil {
		return err
	}
	conn, err := dialPod(ctx, s, port)
	if err != nil {
		return fmt.Errorf("port-forward to %s: %w", podName(s.config.GetMetadata()), err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	sent := make(chan struct{})
	go func() { // ends with the stream or the connection
		defer close(sent)
		if _, err := io.Copy(conn, stream); err != nil {
			conn.Close() // the pod does not listen any more
			return
		}
		_ = conn.CloseWrite()
	}()
	_, err = io.Copy(stream, conn)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	if err := stream.Close(); err != nil {
		return nil // the client has gone
	}
	select {
	case <-sent:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// dialPod connects from inside the pod's network.
func dialPod(ctx context.Context, s *pod, port uint16) (*net.TCPConn, error) {
	if !s.snapshot.Load().Ready {
		return nil, fmt.Errorf("it is not ready: %w", ErrState)
	}
	var conn *net.TCPConn
	dial := func() (err error) {
		conn, err = dialLoopback(ctx, port)
		return err
	}
	if s.hostNetwork() {
		err := dial()
		return conn, err
	}
	fd, err := s.borrowNetwork()
	if err != nil {
		return nil, err
	}
	defer linux.Close(fd)
	err = linux.InNetwork(fd, dial)
	return conn, err
}

// borrowNetwork returns the pod's network namespace, as a descriptor of the
// caller's own. ErrState: it is not held, as of a pod on the host's network.
func (s *pod) borrowNetwork() (int, error) {
	s.holders.Lock()
	defer s.holders.Unlock()
	fd, ok := s.namespaces[specs.NetworkNamespace]
	if !ok {
		return -1, fmt.Errorf("its network namespace is not held: %w", ErrState)
	}
	return linux.Dup(fd)
}

func dialLoopback(ctx context.Context, port uint16) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	var d net.Dialer // literal addresses: no resolver, and the sockets are made by this thread
	c, err := d.DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		var second error
		if c, second = d.DialContext(ctx, "tcp6", net.JoinHostPort("::1", strconv.Itoa(int(port)))); second != nil {
			return nil, fmt.Errorf("%w; %w", err, second)
		}
	}
	return c.(*net.TCPConn), nil
}
