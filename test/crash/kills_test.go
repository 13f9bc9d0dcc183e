package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"slipway/test/node"
)

const (
	shortKills = 48
	churners   = 3
	writers    = 4
)

// TestKills kills at random moments while pods come and go and containers write.
func TestKills(t *testing.T) {
	seed, kills := number(t, "SLIPWAY_CRASH_SEED", uint64(time.Now().UnixNano())), number(t, "SLIPWAY_CRASH_KILLS", shortKills)
	t.Logf("SLIPWAY_CRASH_SEED=%d SLIPWAY_CRASH_KILLS=%d", seed, kills)
	n := lab.New(t)
	streams := startWriters(n)
	f := &field{n: n, held: streams.logs()}
	f.connected()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var work sync.WaitGroup
	for i := range churners {
		k := &churner{f: f, name: fmt.Sprintf("churn%d", i), random: rand.New(rand.NewPCG(seed, uint64(i+1)))}
		work.Go(func() { k.run(ctx) })
	}
	work.Go(func() { f.pull(ctx) })

	random := rand.New(rand.NewPCG(seed, 0))
	for range kills {
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
		f.strike(random)
	}
	stop()
	work.Wait()
	f.report(t)
	streams.check(f.both.Load())
}

func number(t *testing.T, key string, otherwise uint64) uint64 {
	t.Helper()
	v := os.Getenv(key)
	if v == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(v, 10, 64)
	must(t, err)
	return n
}

// field is where the churners work and the kills happen.
type field struct {
	n       *node.Node
	clients atomic.Pointer[node.Clients]

	struck [3]int
	ready  []time.Duration
	both   atomic.Int64 // kills of both so far
	held   []string     // logs that a keeper holds when it has been equipped

	pods, containers, execs, unknown, startErrors atomic.Int64
}

// connected lets the churners use the daemon of now.
func (f *field) connected() {
	c := f.n.Clients
	f.clients.Store(&c)
}

// strike kills the daemon, the keeper, or both, and brings the daemon back.
func (f *field) strike(random *rand.Rand) {
	what := random.IntN(3)
	f.struck[what]++
	keeper, ok := f.n.Keeper()
	if !ok || !f.equipped(keeper) { // it dies as the keeper has, before there is another
		f.both.Add(1)
	}
	switch {
	case what == 1 && ok:
		kill(f.n.T, keeper)
		return
	case what == 2 && ok:
		f.both.Add(1)
		_ = syscall.Kill(f.n.Daemon.Pid(), syscall.SIGKILL)
		kill(f.n.T, keeper)
	}
	_ = f.n.Daemon.Kill()
	time.Sleep(time.Duration(random.IntN(30)) * time.Millisecond)
	if random.IntN(5) == 0 { // during recovery, too
		f.halfStart(time.Duration(random.IntN(120)) * time.Millisecond)
	}
	start := time.Now()
	f.n.Start()
	f.ready = append(f.ready, time.Since(start))
	f.connected()
}

// equipped says whether a keeper has been given what the one before it held.
func (f *field) equipped(keeper int) bool {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", keeper))
	var open []os.FileInfo
	for _, fd := range fds {
		if file, err := os.Stat(fd); err == nil {
			open = append(open, file)
		}
	}
	for _, log := range f.held {
		file, err := os.Stat(log)
		must(f.n.T, err)
		if !slices.ContainsFunc(open, func(o os.FileInfo) bool { return os.SameFile(o, file) }) {
			return false
		}
	}
	return true
}

// halfStart starts a daemon and kills it while it finds things again.
func (f *field) halfStart(after time.Duration) {
	args, err := f.n.Setup.Slipway()
	must(f.n.T, err)
	ctx, cancel := context.WithTimeout(context.Background(), after)
	defer cancel()
	d, err := f.n.Setup.Start(ctx, args, nil) // killed when ctx ends first
	if err == nil {
		_ = d.Kill()
	}
}

func (f *field) report(t *testing.T) {
	slices.Sort(f.ready)
	if len(f.ready) > 0 {
		t.Logf("ready again after: median %v, slowest %v", f.ready[len(f.ready)/2].Round(time.Millisecond), f.ready[len(f.ready)-1].Round(time.Millisecond))
	}
	t.Logf("killed: daemon %d, keeper %d, both %d; meanwhile %d pods, %d containers, %d execs; %d codes unknown, %d starts failed by the keeper's death",
		f.struck[0], f.struck[1], f.struck[2], f.pods.Load(), f.containers.Load(), f.execs.Load(), f.unknown.Load(), f.startErrors.Load())
}

// retryFor is how long a call may fail before that is a failure of the test.
const retryFor = 30 * time.Second

// retry calls until it succeeds: what a kubelet does.
func (f *field) retry(what string, call func(*node.Clients) error) bool {
	var err error
	if within(retryFor, func() bool { err = call(f.clients.Load()); return err == nil }) {
		return true
	}
	f.n.T.Errorf("%s: still fails after %s: %v", what, retryFor, err)
	return false
}

// pull removes and pulls an image, again and again.
func (f *field) pull(ctx context.Context) {
	for ctx.Err() == nil {
		_ = f.retry("pull", func(c *node.Clients) error {
			_, err := c.Images.PullImage(context.Background(), otherImage, nil, nil)
			return err
		}) && f.retry("remove image", func(c *node.Clients) error { return c.Images.RemoveImage(context.Background(), otherImage) })
	}
}
