package streaming

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// arrived is a stream that a client has opened. It can be written to once the
// client has been told.
type arrived struct {
	httpstream.Stream
	told <-chan struct{}
}

// openSPDY waits until the client has opened the streams that it asked for. One
// more than that ends the session: the connection's workers must never wait
// for somebody to take a stream.
func (x *session) openSPDY(w http.ResponseWriter, r *http.Request) (*command, error) {
	protocol, err := httpstream.Handshake(r, w, remotecommand.SupportedStreamingProtocols)
	if err != nil {
		return nil, err
	}
	want := x.e.want.names(protocol)
	limit := len(want)
	streams := make(chan arrived, limit)
	var n atomic.Int32
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, told <-chan struct{}) error {
		if int(n.Add(1)) > limit {
			x.cancel(errStreams)
			_ = x.conn.Close()
			return nil
		}
		streams <- arrived{s, told}
		return nil
	})
	if conn == nil {
		return nil, errors.New("the upgrade to SPDY failed")
	}
	x.s.work.Go(func() { // after a client's farewell nobody reads the connection
		select {
		case <-conn.CloseChan():
			x.cancel(errGone)
		case <-x.ctx.Done():
		}
	})
	c := &command{protocol: protocol, closeStreams: func() { _ = conn.Close() }}
	ctx, cancel := context.WithTimeout(x.ctx, x.s.o.Open)
	defer cancel()
	if err := c.collect(ctx, streams, want); err != nil {
		c.closeStreams()
		return nil, err
	}
	return c, nil
}

// names lists the streams that a client opens for what it wants.
func (w Want) names(protocol string) map[string]bool {
	names := map[string]bool{remotecommand.StreamTypeError: true}
	add := func(name string, yes bool) {
		if yes {
			names[name] = true
		}
	}
	add(remotecommand.StreamTypeStdin, w.Stdin)
	add(remotecommand.StreamTypeStdout, w.Stdout)
	add(remotecommand.StreamTypeStderr, w.Stderr)
	resizes := protocol == remotecommand.StreamProtocolV3Name || protocol == remotecommand.StreamProtocolV4Name
	add(remotecommand.StreamTypeResize, w.TTY && resizes)
	return names
}

func (c *command) collect(ctx context.Context, streams <-chan arrived, want map[string]bool) error {
	for len(want) > 0 {
		var s arrived
		select {
		case s = <-streams:
		case <-ctx.Done():
			return missing(ctx, want)
		}
		name := s.Headers().Get(remotecommand.StreamType)
		if !want[name] {
			return fmt.Errorf("%w: %q", errStreams, name)
		}
		delete(want, name)
		switch name {
		case remotecommand.StreamTypeError:
			c.status = s
		case remotecommand.StreamTypeStdin:
			c.in = s
		case remotecommand.StreamTypeStdout:
			c.out = s
		case remotecommand.StreamTypeStderr:
			c.err = s
		case remotecommand.StreamTypeResize:
			c.resize = s
		}
		select {
		case <-s.told:
		case <-ctx.Done():
			return missing(ctx, want)
		}
	}
	return nil
}

func missing(ctx context.Context, want map[string]bool) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("the client has not opened %d of its streams in time", len(want))
	}
	return context.Cause(ctx)
}
