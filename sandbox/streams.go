package sandbox

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"slipway/sandbox/linux"
)

// Streams are a client's ends of a session. Those that it does not have are
// nil. They are used no more when the session's function has returned, but for
// a Read of In and a call of Resize that are under way.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer

	// Resize waits for the next size of the client's terminal; ok is false when
	// there is none any more.
	Resize func() (rows, cols uint16, ok bool)
}

// Names of descriptors that are held for a container beside the keeper's own.
const (
	fdStdin  = "stdin"  // FIFO: read-write, or the only write end (makeStdin), or /dev/null once closed
	fdDevpts = "devpts" // the container's devpts mount
)

// pollable makes a file of a descriptor, which it owns, whose reads and writes
// end when it is closed.
func pollable(fd int, name string) (*os.File, error) {
	if err := syscall.SetNonblock(fd, true); err != nil {
		_ = linux.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// pipe makes a pipe: our end, and the other as a plain descriptor.
func pipe(theyWrite bool) (ours *os.File, theirs int, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, -1, err
	}
	ours, other := w, r
	if theyWrite {
		ours, other = r, w
	}
	defer other.Close()
	if theirs, err = linux.Dup(int(other.Fd())); err != nil { // Fd makes it blocking
		ours.Close()
		return nil, -1, err
	}
	return ours, theirs, nil
}

const (
	copySize = 32 << 10
	// pipeSize is what a pipe holds: so much may be left of what a command wrote.
	pipeSize = 64 << 10
)

// copyOut copies a stream to a client until its end, or until ended is closed
// and nothing more has come for the drain limit. What was in the pipe when that
// is over is still delivered: a slow client loses nothing.
func copyOut(w io.Writer, r *os.File, ended <-chan struct{}) {
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-ended:
			_ = r.SetReadDeadline(time.Now().Add(drainLimit))
		case <-stop:
		}
	}()
	b := make([]byte, copySize)
	for left := pipeSize; left > 0; {
		n, err := r.Read(b)
		if n > 0 {
			if _, err := w.Write(b[:n]); err != nil {
				return
			}
		}
		late := isClosed(ended)
		if late && errors.Is(err, os.ErrDeadlineExceeded) && left == pipeSize {
			left-- // the limit is over: only what is there
		} else if err != nil {
			return
		}
		if left < pipeSize {
			left -= n
			_ = r.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// endOfText is what a terminal takes for the end of input at the start of a line.
const endOfText = 4

// copyIn copies a client's input to a command, and its end: a pipe is closed, a
// terminal told.
func copyIn(w *os.File, r io.Reader, tty bool) {
	_, _ = io.Copy(w, r)
	if tty {
		_, _ = w.Write([]byte{endOfText})
		return
	}
	w.Close()
}

// resize follows the size of a client's terminal.
func resize(master *os.File, next func() (rows, cols uint16, ok bool)) {
	for {
		rows, cols, ok := next()
		if !ok {
			return
		}
		raw, err := master.SyscallConn()
		if err != nil {
			return
		}
		if raw.Control(func(fd uintptr) { err = linux.ResizeTerminal(int(fd), rows, cols) }) != nil || err != nil {
			return // it is closed
		}
	}
}
