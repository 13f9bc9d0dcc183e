package sandbox

import (
	"context"
	"fmt"
	"sync"
	"time"

	"slipway/sandbox/wire"
)

// keeperWire is one connection to one keeper: it matches answers to requests.
type keeperWire struct {
	conn *wire.Conn

	mu      sync.Mutex // guards the fields below
	seq     uint64
	waiting map[uint64]func(wire.Packet) // run by the reader, before anything that came later
	dead    chan struct{}                // closed when the connection is of no more use
}

func newKeeperWire(c *wire.Conn) *keeperWire {
	return &keeperWire{conn: c, waiting: map[uint64]func(wire.Packet){}, dead: make(chan struct{})}
}

// sendBound is for a keeper that does not read: it has hung.
const sendBound = 10 * time.Second

// ask sends a request and waits for its answer; took runs with the answer in
// the reader, so that what it notes is there when the connection ends right
// after. It is not called once ask has returned. The caller owns the
// descriptors of the answer.
func (w *keeperWire) ask(ctx context.Context, m wire.Message, fds []int, took func(wire.Packet)) (wire.Packet, error) {
	c := make(chan wire.Packet, 1)
	w.mu.Lock()
	w.seq++
	seq := w.seq
	gone := false
	w.waiting[seq] = func(p wire.Packet) { // under mu
		if gone { // nobody waits any more
			wire.CloseAll(p.Fds)
			return
		}
		if took != nil {
			took(p)
		}
		c <- p
	}
	w.mu.Unlock()
	_ = w.conn.SetWriteDeadline(time.Now().Add(sendBound))
	if err := w.conn.Send(seq, m, fds...); err != nil {
		_ = w.conn.Close() // the reader ends the rest
		return wire.Packet{}, fmt.Errorf("%w: %w", errKeeperDied, err)
	}
	select {
	case p := <-c:
		return p, nil
	case <-w.dead:
		select {
		case p := <-c:
			return p, nil
		default:
			return wire.Packet{}, errKeeperDied
		}
	case <-ctx.Done():
	}
	w.mu.Lock()
	gone = true
	w.mu.Unlock()
	select {
	case p := <-c:
		return p, nil
	default:
		return wire.Packet{}, fmt.Errorf("keeper: %w", ctx.Err())
	}
}

// read passes on what comes until the keeper is gone.
func (w *keeperWire) read(event func(wire.Message)) error {
	defer close(w.dead)
	for {
		p, err := w.conn.Recv()
		if err != nil {
			_ = w.conn.Close()
			return err
		}
		if p.Seq == 0 {
			wire.CloseAll(p.Fds)
			event(p.Message)
			continue
		}
		w.mu.Lock()
		f := w.waiting[p.Seq]
		delete(w.waiting, p.Seq)
		if f != nil {
			f(p)
		} else {
			wire.CloseAll(p.Fds)
		}
		w.mu.Unlock()
	}
}

// hello greets a keeper that nobody else talks to yet, and returns what it
// holds and the ends that it told meanwhile.
func (w *keeperWire) hello(ctx context.Context) (*wire.Welcome, []held, []wire.Exit, error) {
	if end, ok := ctx.Deadline(); ok {
		_ = w.conn.SetReadDeadline(end)
		defer func() { _ = w.conn.SetReadDeadline(time.Time{}) }()
	}
	w.seq++
	seq := w.seq
	if err := w.conn.Send(seq, &wire.Hello{Version: wire.Version}); err != nil {
		return nil, nil, nil, fmt.Errorf("greet keeper: %w", err)
	}
	var welcome *wire.Welcome
	var all []held
	var ends []wire.Exit
	for welcome == nil || len(all) < welcome.Held {
		p, err := w.conn.Recv()
		if err != nil {
			closeHeld(all)
			return nil, nil, nil, fmt.Errorf("greet keeper: %w", err)
		}
		switch m := p.Message.(type) {
		case *wire.Welcome:
			welcome = m
		case *wire.Held:
			all = append(all, heldOf(m, p.Fds))
		case *wire.Exit:
			ends = append(ends, *m)
		default:
			wire.CloseAll(p.Fds)
		}
	}
	return welcome, all, ends, nil
}

// heldOf pairs what a keeper gives back with its names.
func heldOf(m *wire.Held, fds []int) held {
	h := held{ID: m.ID, Kind: m.Kind, Pid: m.Pid, OOM: m.OOM, Exit: m.Exit, Fds: map[string]int{}}
	for i, fd := range fds {
		if i < len(m.Names) {
			h.Fds[m.Names[i]] = fd
		} else {
			wire.CloseAll([]int{fd})
		}
	}
	return h
}

func closeHeld(all []held) {
	for i := range all {
		all[i].close()
	}
}
