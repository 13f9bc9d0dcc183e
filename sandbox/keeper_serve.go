package sandbox

import (
	"context"
	"errors"
	"io"
	"time"

	"slipway/sandbox/linux"
	"slipway/sandbox/wire"
)

// serve keeps a keeper there: it equips the one that it is given, reads until
// that is gone, and gets the next.
func (l *link) serve(w *keeperWire, ends []wire.Exit) {
	has := map[string]bool{}
	l.mu.Lock()
	for id := range l.kept { // the first one gave us all that we keep
		has[id] = true
	}
	l.mu.Unlock()
	for {
		for i := range ends {
			l.event(&ends[i])
		}
		err := l.with(w, has)
		if l.ctx.Err() != nil {
			return
		}
		l.o.Log.Error("the connection to the keeper has ended; containers run on", "error", err)
		l.lost()
		if w, has, ends = l.next(); w == nil {
			return
		}
	}
}

// with equips a keeper, lets requests go to it, and returns when it is gone.
func (l *link) with(w *keeperWire, has map[string]bool) error {
	gone := make(chan error, 1)
	go func() { gone <- w.read(l.event) }()
	err := l.handOver(l.ctx, w, has)
	if err == nil {
		l.mu.Lock()
		l.wire = w
		close(l.up)
		l.mu.Unlock()
	} else {
		_ = w.conn.Close()
	}
	select {
	case <-l.ctx.Done():
		_ = w.conn.Close()
		<-gone
		return l.ctx.Err()
	case e := <-gone:
		if errors.Is(e, io.EOF) {
			e = errKeeperDied
		}
		return errors.Join(err, e)
	}
}

// lost notes that the keeper is gone: what it parented may be our child now.
func (l *link) lost() {
	l.mu.Lock()
	if l.wire != nil {
		l.wire, l.up = nil, make(chan struct{})
	}
	l.alone = true
	for _, k := range l.kept {
		k.orphan = true
	}
	l.mu.Unlock()
}

// next gets another keeper, as often as it takes: without one no container can
// be started, and those that run must wait for their log once the FIFO is full.
func (l *link) next() (*keeperWire, map[string]bool, []wire.Exit) {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		ctx, cancel := context.WithTimeout(l.ctx, greetBound+upgradeBound)
		w, there, ends, err := l.connect(ctx)
		cancel()
		if err == nil {
			return w, l.reconcile(there), ends
		}
		if l.ctx.Err() != nil {
			return nil, nil, nil
		}
		l.o.Log.Error("no keeper; trying again", "error", err)
		select {
		case <-time.After(pause):
		case <-l.ctx.Done():
			return nil, nil, nil
		}
	}
}

// reconcile compares what a keeper holds with what we keep: it is the one
// before when only the connection was lost, and it may know of ends that we
// were not told.
func (l *link) reconcile(there []held) map[string]bool {
	has := map[string]bool{}
	for i := range there {
		h := &there[i]
		has[h.ID] = true
		if h.Exit != nil {
			l.event(h.Exit)
		}
	}
	closeHeld(there)
	return has
}

// event takes what the keeper says unasked.
func (l *link) event(m wire.Message) {
	switch m := m.(type) {
	case *wire.Exit:
		l.exited(*m)
	case *wire.Detached:
		if l.o.OnDetached != nil {
			l.o.OnDetached(*m)
		}
	}
}

// exited notes an end and queues it for OnExit.
func (l *link) exited(e wire.Exit) {
	l.mu.Lock()
	k := l.kept[e.ID]
	if k != nil && k.exit != nil { // told before
		l.mu.Unlock()
		return
	}
	record := -1
	if k != nil {
		if e.Unknown && k.how != nil { // we were its parent
			e.Unknown, e.Reason, e.Code, e.Signal = false, "", k.how.Code, k.how.Signal
		}
		if fd, ok := k.fds[wire.FdRecord]; ok && e.Unrecorded {
			record, _ = linux.Dup(fd)
		}
		kept := e
		k.exit = &kept
	}
	l.mu.Unlock()
	if record >= 0 {
		e.Unrecorded = !recordExit(record, &e)
		_ = linux.Close(record)
	}
	l.mu.Lock()
	l.told = append(l.told, e)
	l.mu.Unlock()
	select {
	case l.ends <- struct{}{}:
	default: // tell is awake already
	}
}

// tell calls OnExit, one end after the other, apart from the reader: whoever
// hears of an end may wait for a request.
func (l *link) tell() {
	for {
		l.mu.Lock()
		told := l.told
		l.told = nil
		l.mu.Unlock()
		for _, e := range told {
			l.o.OnExit(e)
			switch { // a command's end is told once and kept by nobody
			case e.Kind != wire.KindExec:
			case e.Dropped:
				l.forget(e.ID)
			default:
				l.work.Go(func() { _ = l.drop(l.ctx, e.ID) })
			}
		}
		if len(told) > 0 {
			continue
		}
		select {
		case <-l.ends:
		case <-l.ctx.Done():
			return
		}
	}
}
