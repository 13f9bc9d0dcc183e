// Package streaming serves the byte streams of exec, attach and port-forward
// over SPDY and WebSocket, on a loopback address of its own. A URL that it gives
// out holds a token, works once, and for half a minute.
//
// It knows no containers: whoever asks for a URL says what is to be run with
// the streams. It starts no process and dials nothing.
//
// The protocols' frames are k8s.io/streaming's, their names cri-streaming's.
// The sessions are not cri-streaming's: that knows neither of the two WebSocket
// protocols that clients speak today (v5.channel.k8s.io, and SPDY tunnelled
// for port-forward), and its sessions are not told when the client has gone.
//
// Trap: net/http does not end the context of a request whose connection was
// taken over. The connection of this package does: it sees the end in Read, and
// where nobody reads (a command that ignores its input) in the kernel's state.
package streaming
