package keeper

import (
	"context"
	"log"
	"sync"
	"syscall"
	"time"

	"slipway/sandbox/wire"
)

// Options of a keeper. Listener and Starter must be set.
type Options struct {
	Listener int    // a listening SOCK_SEQPACKET socket; the keeper's from now on
	Build    string // digest of this program, told in Welcome
	Starter  Starter
	Log      *log.Logger
	// Linger is how long to stay without a daemon and with nothing to hold; 0 means 5 s.
	Linger time.Duration
	// Exec replaces this program (Upgrade): with a sealed memfd of the new one
	// and a memfd of the state. It returns only when that failed. nil: not possible.
	Exec func(binary, state int) error
}

// Starter runs a program in a new process.
type Starter interface {
	// Start returns when the new process has made its execve, or has ended after
	// a program without one. A failing step is a *StepError.
	Start(ctx context.Context, memfd int, fds []int, want int) (Started, error)
}

// Started is a new process. The descriptors are the keeper's.
type Started struct {
	Pid     int // 0: it has done its work and ended
	Pidfd   int // -1 with Pid 0
	Offered []int
}

// StepError is a failing step of a program.
type StepError struct {
	Index int
	Errno syscall.Errno
}

// Error gives the index only: the names are with the daemon.
func (e *StepError) Error() string { return "step failed: " + e.Errno.Error() }

// Unwrap returns the errno.
func (e *StepError) Unwrap() error { return e.Errno }

// Keeper is the table of what is held, and what runs on it.
type Keeper struct {
	o       Options
	log     *log.Logger
	loop    *loop
	buffers *buffers

	mu      sync.Mutex // guards what follows; never held over I/O
	items   map[string]*item
	session *session // the daemon that is connected, nil between two
	starts  int      // programs being started: their children are not yet in items
	working int      // starts, ends and recoveries under way: no upgrade meanwhile
	bye     bool     // the daemon stopped in order
	quiet   time.Time
	done    chan struct{} // closed when the keeper shall end
	failed  chan error    // the loop or the listener cannot go on
	ended   bool
}

// limits of waits. None of them is a promise; they keep one container's trouble its own.
const (
	startLimit   = 20 * time.Second // of a start, when the daemon gives no other
	drainLimit   = 5 * time.Second  // of reading what an ended container left in its FIFOs
	foreignLimit = 3 * time.Second  // for somebody else's child to be reaped
	turnLimit    = 5 * time.Second  // for a pump's batch to end
	sendLimit    = 10 * time.Second // for a daemon that does not read
	lingerLimit  = 5 * time.Second
)

// newKeeper makes a keeper with an empty table and starts its loop.
func newKeeper(o Options) (*Keeper, error) {
	if o.Linger == 0 {
		o.Linger = lingerLimit
	}
	if o.Log == nil {
		o.Log = log.Default()
	}
	l, err := newLoop()
	if err != nil {
		return nil, err
	}
	k := &Keeper{o: o, log: o.Log, loop: l, buffers: newBuffers(), items: map[string]*item{}, done: make(chan struct{}), failed: make(chan error, 2), quiet: time.Now()}
	return k, nil
}

// work announces something that an upgrade must wait for, until rest.
func (k *Keeper) work() {
	k.mu.Lock()
	k.working++
	k.mu.Unlock()
}

func (k *Keeper) rest() {
	k.mu.Lock()
	k.working--
	k.mu.Unlock()
}

// tell sends a message to the connected daemon, if there is one. One that does
// not take it in time is cut: it connects again and is told everything.
func (k *Keeper) tell(m wire.Message) {
	k.mu.Lock()
	s := k.session
	k.mu.Unlock()
	if s != nil {
		s.send(0, m)
	}
}

// end makes Run return.
func (k *Keeper) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.ended {
		k.ended = true
		close(k.done)
	}
}

// idle reports whether there is nothing that only this process can keep: no
// live process, no escrow, no end that is recorded nowhere.
func (k *Keeper) idle() bool {
	if k.session != nil || k.working > 0 {
		return false
	}
	for _, it := range k.items {
		if it.exit == nil || it.exit.Unrecorded || it.kind == wire.KindPod {
			return false
		}
	}
	return true
}

// retire ends a keeper that was idle for the time that it lingers.
func (k *Keeper) retire() {
	t := time.NewTicker(max(k.o.Linger/10, 10*time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-k.done:
			return
		case now := <-t.C:
			k.mu.Lock()
			if !k.idle() {
				k.quiet = now
			}
			over := k.bye && k.idle() || now.Sub(k.quiet) > k.o.Linger
			k.mu.Unlock()
			if over {
				k.end()
				return
			}
		}
	}
}
