package sandbox

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"slipway/sandbox/wire"
)

// link is the daemon's end of the wire. It finds the running keeper or starts
// one, asks it for things, and starts a new one when it dies: then everything
// that the old one held is handed over from the descriptors kept here.
//
// All methods may be called by any number of goroutines. A request that was
// under way when the keeper died fails with errKeeperDied; whether it took
// effect is told by nothing but held, so it is never repeated blindly.
type link struct {
	o      linkOptions
	build  string // digest of the keeper's binary
	ends   chan struct{}
	ctx    context.Context // of the goroutines; ends with close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu    sync.Mutex    // guards the fields below; never held over I/O that can wait
	wire  *keeperWire   // nil while there is no keeper
	up    chan struct{} // closed while there is one
	kept  map[string]*kept
	told  []wire.Exit // ends that OnExit has yet to hear of, in order
	alone bool        // a keeper has died under us: its other children may be ours now
	child int         // pidfd of the keeper that we started, -1 when it was adopted
}

// linkOptions say where the keeper is and who hears of what happens.
type linkOptions struct {
	State  string // directory of keeper.sock, mode 0700
	Binary string // path of slipway-keeper; it is run from a sealed copy
	Log    *slog.Logger
	// KeeperLog is where a new keeper writes its own messages; -1 means the daemon's stderr.
	KeeperLog int
	// OnExit is called for each end of a process, one call at a time, in the
	// order in which the ends were told. It may be told an end twice (after a
	// change of keeper or a lost reply) and must not wait for the link.
	OnExit func(wire.Exit)
	// Start starts a keeper; nil means program.StartKeeper. For tests.
	Start func(ctx context.Context, k keeperStart) (pidfd int, err error)
	// OnDetached is called when the keeper cut an attacher; may be nil.
	OnDetached func(wire.Detached)
}

// sealed is what spawn needs of a program; *program.Program is one.
type sealed interface {
	Seal() (memfd int, err error)
	Fds() []int
	Failure(step int, errno syscall.Errno) error
}

// spawn is one process to start. All descriptors stay the caller's: the link
// and the keeper hold copies of those in Fds until drop.
type spawn struct {
	ID      string
	Kind    wire.Kind
	Program sealed
	Fds     map[string]int // by the wire.Fd names; any other name is held, too, and given back after a restart
	Want    []string       // names for the descriptors that the child offers, in its order
	Timeout time.Duration  // of the start; 0 = the keeper's own limit
}

// child is a started process. The descriptors are the caller's to close.
type child struct {
	Pid     int
	Pidfd   int
	Offered map[string]int // by spawn.Want
	OOM     uint64         // OOM kills counted before the start
}

// watch is a process to look after that this keeper did not start.
// Descriptors stay the caller's; wire.FdPidfd must be among them.
type watch struct {
	ID   string
	Kind wire.Kind
	Pid  int
	Fds  map[string]int
	OOM  uint64
}

// held is what an adopted keeper gave back. The descriptors are the caller's to close.
type held struct {
	ID   string
	Kind wire.Kind
	Pid  int
	Fds  map[string]int
	OOM  uint64
	Exit *wire.Exit // set when it has ended
}

// close closes what the caller did not take out of Fds.
func (h *held) close() {
	for name, fd := range h.Fds {
		_ = syscall.Close(fd)
		delete(h.Fds, name)
	}
}

// errKeeperDied: the keeper went away before it answered. A new one is being started.
var errKeeperDied = fmt.Errorf("the keeper died before it answered: %w", ErrUnavailable)
