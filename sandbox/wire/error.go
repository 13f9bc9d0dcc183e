package wire

import (
	"errors"
	"syscall"
)

// What Recv and Decode return beside errors of the socket.
var (
	// ErrTruncated is a packet or a control message that did not arrive whole (MSG_TRUNC, MSG_CTRUNC).
	ErrTruncated = errors.New("message was truncated")
	// ErrMalformed is a packet that is not a message of this protocol.
	ErrMalformed = errors.New("malformed message")
	// ErrTooLarge is a message that does not fit into a packet.
	ErrTooLarge = errors.New("message is too large")
)

// Error is a failure that crossed from the keeper to the daemon: what was tried,
// on which object, and why not. It unwraps to the errno, so that
// errors.Is(err, fs.ErrNotExist) holds on the other side.
type Error struct {
	Step, Path string
	Errno      syscall.Errno
}

// Error is "step path: reason".
func (e *Error) Error() string {
	s := e.Step
	if e.Path != "" {
		s += " " + e.Path
	}
	return s + ": " + e.Errno.Error()
}

// Unwrap returns the errno.
func (e *Error) Unwrap() error { return e.Errno }

// Error returns what the message says as an error. A step that is known only by
// its index must be named by the side that built the program.
func (f *Failed) Error() *Error {
	return &Error{Step: f.Step, Path: f.Path, Errno: syscall.Errno(f.Errno)}
}

// Refuse makes the Failed message of an error that the keeper met itself.
func Refuse(step string, err error) *Failed {
	f := &Failed{Index: -1, Step: step, Errno: int(syscall.EIO)}
	var e *Error
	var errno syscall.Errno
	switch {
	case errors.As(err, &e):
		f.Step, f.Path, f.Errno = e.Step, e.Path, int(e.Errno)
	case errors.As(err, &errno):
		f.Errno = int(errno)
	}
	return f
}
