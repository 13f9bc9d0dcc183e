// Package streams is a client of the URLs that Exec, Attach and PortForward
// give: SPDY, and both WebSocket protocols that clients speak today. It lets a
// test do what a client library would not: go away in the middle, leave streams
// unread, open too many.
//
// It is not a client for anything but tests: it checks nothing.
package streams
