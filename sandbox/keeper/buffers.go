package keeper

import (
	"golang.org/x/sys/unix"

	"slipway/sandbox/logfile"
)

// buffer is what a pump needs while it runs: room for a batch, for its log
// lines, and a pipe to look at a batch without taking it out of the staging pipe.
type buffer struct {
	in, out  []byte
	r, w     int // scratch pipe, empty between batches
	capacity int
}

// buffers keeps one for the next pump, so that idle containers need none and
// busy ones do not make garbage.
type buffers struct{ free chan *buffer }

const sparePumps = 1

func newBuffers() *buffers { return &buffers{free: make(chan *buffer, sparePumps)} }

func (b *buffers) get() (*buffer, error) {
	select {
	case x := <-b.free:
		return x, nil
	default:
	}
	r, w, err := pipe()
	if err != nil {
		return nil, err
	}
	return &buffer{
		in: make([]byte, logfile.Batch), out: make([]byte, 0, logfile.Batch+logfile.MinSpace+logfile.Batch/2),
		r: r, w: w, capacity: logfile.Batch,
	}, nil
}

// put takes a buffer back. One whose pipe is not empty would mix two containers' output.
func (b *buffers) put(x *buffer) {
	if queued(x.r) == 0 {
		select {
		case b.free <- x:
			return
		default:
		}
	}
	unix.Close(x.r)
	unix.Close(x.w)
}

// close lets go of what is spare.
func (b *buffers) close() {
	for {
		select {
		case x := <-b.free:
			unix.Close(x.r)
			unix.Close(x.w)
		default:
			return
		}
	}
}

// fit makes the scratch pipe as wide as a staging pipe: a tee must see all of it.
func (x *buffer) fit(stage int) {
	n, err := unix.FcntlInt(uintptr(stage), unix.F_GETPIPE_SZ, 0)
	if err == nil && n > x.capacity {
		if n, err = unix.FcntlInt(uintptr(x.w), unix.F_SETPIPE_SZ, n); err == nil {
			x.capacity = n
		}
	}
}
