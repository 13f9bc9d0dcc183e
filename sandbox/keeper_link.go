package sandbox

import (
	"context"
	"fmt"
	"log/slog"
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
	linkState
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

// openLink adopts the keeper that listens at <state>/keeper.sock, upgrading it
// in place when it runs another binary, or starts one. It returns what an
// adopted keeper holds. The daemon becomes a subreaper.
func openLink(ctx context.Context, o linkOptions) (*link, []held, error) { return open(ctx, o) }

// spawn starts a process. A failing step is a *wire.Error that names it. On any
// error nothing is held and the process, if there was one, is gone, except
// after errKeeperDied and the end of ctx: then drop the id and kill its cgroup.
func (l *link) spawn(ctx context.Context, s spawn) (child, error) { return l.doSpawn(ctx, s) }

// watch has the keeper look after a running process: its output, its end.
func (l *link) watch(ctx context.Context, w watch) error { return l.doWatch(ctx, w) }

// reopen gives a new log file, -1 to throw the output away from now on. No byte is lost between the files.
func (l *link) reopen(ctx context.Context, id string, log int) error { return l.doReopen(ctx, id, log) }

// hold gives descriptors into custody (both processes keep copies) under an id,
// beside those it may have already.
func (l *link) hold(ctx context.Context, id string, fds map[string]int) error {
	return l.doHold(ctx, id, fds)
}

// drop ends custody of an id. It is no error when there is none.
func (l *link) drop(ctx context.Context, id string) error { return l.doDrop(ctx, id) }

// attachOut copies the output of a container to the pipe fd from now on, until
// detachOut, until the container ends (the pipe is closed), or until the reader
// is too slow (OnDetached). The fd stays the caller's and is made non-blocking.
func (l *link) attachOut(ctx context.Context, a wire.AttachOut, fd int) error {
	return l.doAttach(ctx, a, fd)
}

// detachOut ends attachOut. It is no error when it has ended.
func (l *link) detachOut(ctx context.Context, id, attacher string) error {
	return l.doDetach(ctx, id, attacher)
}

// ping asks whether the keeper answers.
func (l *link) ping(ctx context.Context) error { return l.doPing(ctx) }

// close ends the link and waits for its goroutines. orderly tells the keeper,
// which then ends when it holds nothing; otherwise it goes on as after a crash
// of the daemon.
func (l *link) close(orderly bool) error { return l.doClose(orderly) }
