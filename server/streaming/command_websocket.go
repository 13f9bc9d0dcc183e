package streaming

import (
	"fmt"
	"net/http"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// openWebSocket opens the channels, which are there from the beginning. In
// version 5 the client can half-close one; before, its input has no end.
func (x *session) openWebSocket(w http.ResponseWriter, r *http.Request) (*command, error) {
	want := x.e.want
	channels := make([]wsstream.ChannelType, remotecommand.StreamResize+1)
	set := func(n int, t wsstream.ChannelType, yes bool) {
		if yes {
			channels[n] = t // else it is ignored
		}
	}
	set(remotecommand.StreamStdIn, wsstream.ReadChannel, want.Stdin)
	set(remotecommand.StreamStdOut, wsstream.WriteChannel, want.Stdout)
	set(remotecommand.StreamStdErr, wsstream.WriteChannel, want.Stderr)
	set(remotecommand.StreamErr, wsstream.WriteChannel, true)
	set(remotecommand.StreamResize, wsstream.ReadChannel, true)

	conn := wsstream.NewConn(protocols(channels))
	protocol, streams, err := conn.Open(w, r)
	if err != nil {
		return nil, fmt.Errorf("the upgrade to WebSocket failed: %w", err)
	}
	c := &command{
		protocol: protocol, status: streams[remotecommand.StreamErr], resize: streams[remotecommand.StreamResize],
		closeStreams: func() { _ = conn.Close() },
	}
	first := streams[remotecommand.StreamErr]
	if want.Stderr {
		c.err, first = streams[remotecommand.StreamStdErr], streams[remotecommand.StreamStdErr]
	}
	if want.Stdout {
		c.out, first = streams[remotecommand.StreamStdOut], streams[remotecommand.StreamStdOut]
	}
	if want.Stdin {
		c.in = streams[remotecommand.StreamStdIn]
	}
	// An empty message tells old clients that the session has begun.
	if _, err := first.Write(nil); err != nil {
		c.closeStreams()
		return nil, err
	}
	return c, nil
}

// protocols are those that a client may choose from.
func protocols(channels []wsstream.ChannelType) map[string]wsstream.ChannelProtocolConfig {
	binary := wsstream.ChannelProtocolConfig{Binary: true, Channels: channels}
	text := wsstream.ChannelProtocolConfig{Channels: channels}
	return map[string]wsstream.ChannelProtocolConfig{
		"":                                      binary,
		wsstream.ChannelWebSocketProtocol:       binary,
		wsstream.Base64ChannelWebSocketProtocol: text,
		"v4." + wsstream.ChannelWebSocketProtocol:       binary,
		"v4." + wsstream.Base64ChannelWebSocketProtocol: text,
		remotecommand.StreamProtocolV5Name:              binary,
	}
}
