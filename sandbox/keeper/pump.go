package keeper

import (
	"errors"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"slipway/sandbox/logfile"
	"slipway/sandbox/wire"
)

// pump carries the output of one container into its log, batch by batch.
//
// A batch is never only in the memory of this process: it goes from the FIFO
// into the staging pipe, which the daemon holds too, and leaves that only when
// it stands in the log. If the keeper is killed in between, the next one finds
// it there. The order of batch is what makes it lossless; see batch.go.
type pump struct {
	k    *Keeper
	item *item

	turn    chan struct{} // a lock with a time limit, held for one batch; guards what follows
	src     [2]int        // by logfile.Stream: FIFOs, or the pty master and -1; -1 = none
	tty     bool
	stageR  int // -1 = no log was ever given: output is thrown away
	stageW  int
	log     int // -1 = thrown away
	note    int // log.json, -1 = none
	framer  logfile.Framer
	lost    uint64 // bytes that the log does not have and does not mention yet
	dropped uint64 // all bytes that were lost, told in Exit
	why     error
	closed  bool
	hungUp  bool // the pty has no slave open

	attached []attacher

	running atomic.Bool // a goroutine runs, at most one
}

// newPump makes the pump of an item from its descriptors; nil when it has no output.
func (k *Keeper) newPump(it *item) (*pump, error) {
	p := &pump{
		k: k, item: it, turn: make(chan struct{}, 1), note: -1,
		src:    [2]int{it.fd(wire.FdStdout), it.fd(wire.FdStderr)},
		stageR: it.fd(wire.FdStageR), stageW: it.fd(wire.FdStageW), log: it.fd(wire.FdLog),
	}
	if m := it.fd(wire.FdMaster); m >= 0 {
		p.src, p.tty = [2]int{m, -1}, true
		if err := unix.SetNonblock(m, true); err != nil { // the slaves have open files of their own
			return nil, &wire.Error{Step: "prepare terminal", Errno: errnoOf(err)}
		}
	}
	if p.src == [2]int{-1, -1} {
		return nil, nil
	}
	if p.log >= 0 && (p.stageR < 0 || p.stageW < 0) {
		return nil, &wire.Error{Step: "prepare log: staging pipe", Errno: syscall.EINVAL}
	}
	return p, nil
}

// take waits for the turn, at most d.
func (p *pump) take(d time.Duration) bool {
	select {
	case p.turn <- struct{}{}:
		return true
	default:
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case p.turn <- struct{}{}:
		return true
	case <-t.C:
		return false
	}
}

func (p *pump) give() { <-p.turn }

// arm waits for output. The first call enters the descriptors into the loop.
func (p *pump) arm() error {
	for _, fd := range p.src {
		if fd >= 0 {
			if err := p.k.loop.add(fd, p.ready); err != nil {
				return err
			}
		}
	}
	return nil
}

// rearm waits for more output.
func (p *pump) rearm() {
	for _, fd := range p.src {
		if fd >= 0 {
			p.k.loop.again(fd)
		}
	}
}

// ready is called by the loop: there is output, or a terminal hung up.
func (p *pump) ready() {
	if p.running.CompareAndSwap(false, true) {
		if !p.k.use(p.item) {
			return
		}
		go p.run()
	}
}

// hangupPause is how often a terminal is looked at that nobody has open inside.
const hangupPause = time.Second

// run moves batches until there is nothing to read.
func (p *pump) run() {
	defer p.k.release(p.item)
	closed, hungUp := p.work()
	p.running.Store(false) // before arming: an event in between must find no runner
	switch {
	case closed:
	case hungUp: // epoll would tell it at once, again and again
		time.AfterFunc(hangupPause, p.rearm)
	default:
		p.rearm()
	}
}

// work moves batches; between two others may have the turn.
func (p *pump) work() (closed, hungUp bool) {
	b, err := p.k.buffers.get()
	if err != nil {
		p.k.log.Printf("log of %s: %v", p.item.id, err)
		time.Sleep(hangupPause) // out of descriptors or memory: the FIFO keeps what it has
		return false, false
	}
	defer p.k.buffers.put(b)
	for {
		p.turn <- struct{}{} // the turn is never held longer than a batch
		n := 0
		if !p.closed {
			n = p.pass(b)
		}
		closed, hungUp = p.closed, p.hungUp
		p.give()
		if n == 0 {
			return closed, hungUp
		}
	}
}

// pass moves one batch of each stream and returns how many bytes moved. With the turn.
func (p *pump) pass(b *buffer) int {
	total := 0
	for s, fd := range p.src {
		if fd >= 0 {
			total += p.batch(logfile.Stream(s), b)
		}
	}
	return total
}

// drain reads what an ended container left behind and closes the log, within a
// bound: others may still hold the FIFOs and go on writing. It returns how
// many bytes were lost over the container's life and whether all was read.
func (p *pump) drain(limit time.Duration) (lost uint64, whole bool) {
	end := time.Now().Add(limit)
	b, err := p.k.buffers.get()
	if err != nil {
		return 0, false
	}
	defer p.k.buffers.put(b)
	for {
		if !p.take(time.Until(end)) {
			return 0, false
		}
		if p.closed {
			lost = p.dropped
			p.give()
			return lost, true
		}
		n := p.pass(b)
		if n == 0 || time.Now().After(end) {
			p.finish(b)
			lost = p.dropped
			p.give()
			return lost, n == 0
		}
		p.give()
	}
}

// finish writes what is owed to the log and ends the pump. With the turn.
func (p *pump) finish(b *buffer) {
	p.closed = true
	for _, fd := range p.src {
		if fd >= 0 {
			p.k.loop.remove(fd)
		}
	}
	if p.log >= 0 {
		p.framer.Begin(time.Now())
		if p.lost > 0 {
			p.append(p.framer.Dropped(b.out[:0], p.lost, p.reason()))
		} else {
			p.append(p.framer.Finish(b.out[:0]))
		}
	}
	p.closeNote()
	for _, a := range p.attached {
		unix.Close(a.fd)
	}
	p.attached = nil
}

func (p *pump) closeNote() {
	if p.note >= 0 {
		unix.Close(p.note)
		p.note = -1
	}
}

// errnoOf returns the errno inside an error, EIO when there is none.
func errnoOf(err error) syscall.Errno {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	return syscall.EIO
}
