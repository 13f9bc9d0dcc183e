package keeper

import (
	"errors"
	"io"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"slipway/sandbox/wire"
)

// session is one connected daemon.
type session struct {
	k    *Keeper
	conn *wire.Conn
	busy sync.WaitGroup // requests that are answered by goroutines of their own
}

// send sends a message. A daemon that does not read, or is gone, is cut; what
// it must know is told to the next one.
func (s *session) send(seq uint64, m wire.Message, fds ...int) {
	_ = s.conn.SetWriteDeadline(time.Now().Add(sendLimit))
	if err := s.conn.Send(seq, m, fds...); err != nil {
		if !errors.Is(err, syscall.EPIPE) {
			s.k.log.Printf("daemon: %v", err)
		}
		_ = s.conn.Close()
	}
}

// serve answers a daemon until it is gone.
func (s *session) serve() {
	for {
		p, err := s.conn.Recv()
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
				s.k.log.Printf("daemon: %v", err)
			}
			break
		}
		s.answer(p)
	}
	s.k.leave(s)
	_ = s.conn.Close()
	s.busy.Wait() // each is bounded
}

// answer handles a request. What may take long gets a goroutine, so that one
// container's start cannot hold up another's.
func (s *session) answer(p wire.Packet) {
	k := s.k
	switch m := p.Message.(type) {
	case *wire.Hello:
		wire.CloseAll(p.Fds)
		k.welcome(s, p.Seq)
	case *wire.Spawn:
		s.aside(func() { k.spawn(s, p.Seq, m, p.Fds) })
	case *wire.Watch:
		s.aside(func() { s.reply(p.Seq, "watch", k.watch(m, p.Fds)) })
	case *wire.Reopen:
		s.aside(func() { s.reply(p.Seq, "reopen log", k.reopen(m.ID, p.Fds)) })
	case *wire.AttachOut:
		s.aside(func() { s.reply(p.Seq, "attach", k.attach(m, p.Fds)) })
	case *wire.DetachOut:
		wire.CloseAll(p.Fds)
		s.aside(func() { s.reply(p.Seq, "detach", k.detach(m)) })
	case *wire.Hold:
		s.reply(p.Seq, "hold", k.hold(m, p.Fds))
	case *wire.Drop:
		wire.CloseAll(p.Fds)
		k.drop(m.ID)
		s.reply(p.Seq, "drop", nil)
	case *wire.Upgrade:
		s.send(p.Seq, wire.Refuse("upgrade", k.upgrade(s, p.Seq, m.Build, p.Fds))) // it returns only when that failed
	case *wire.Bye:
		wire.CloseAll(p.Fds)
		k.mu.Lock()
		k.bye = true
		k.mu.Unlock()
		s.reply(p.Seq, "bye", nil)
	case *wire.Ping:
		wire.CloseAll(p.Fds)
		s.reply(p.Seq, "ping", nil)
	default:
		wire.CloseAll(p.Fds)
		s.reply(p.Seq, "unknown request", unix.ENOSYS)
	}
}

// aside runs f in a goroutine that serve waits for.
func (s *session) aside(f func()) {
	s.k.work()
	s.busy.Go(func() {
		defer s.k.rest()
		f()
	})
}

// reply answers with OK, or with what went wrong.
func (s *session) reply(seq uint64, what string, err error) {
	if err != nil {
		s.send(seq, wire.Refuse(what, err))
		return
	}
	s.send(seq, &wire.OK{})
}

// welcome tells a daemon all that is held.
func (k *Keeper) welcome(s *session, seq uint64) {
	type one struct {
		h   *wire.Held
		fds []int
	}
	var all []one
	k.mu.Lock()
	k.session, k.bye = s, false // from here on ends are told to it
	for _, it := range k.items {
		if it.pid == 0 && it.kind != wire.KindPod { // being started for somebody else
			continue
		}
		h, fds := it.held()
		all = append(all, one{h, fds})
	}
	k.mu.Unlock()
	s.send(seq, &wire.Welcome{Version: wire.Version, Build: k.o.Build, Pid: unix.Getpid(), Held: len(all)})
	for _, o := range all {
		s.send(seq, o.h, o.fds...)
		wire.CloseAll(o.fds)
	}
}

// leave forgets a daemon that is gone.
func (k *Keeper) leave(s *session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.session == s {
		k.session = nil
		k.quiet = time.Now()
	}
}

// drop forgets an id.
func (k *Keeper) drop(id string) {
	k.mu.Lock()
	it := k.items[id]
	k.mu.Unlock()
	if it != nil {
		k.remove(it)
	}
}

// output finds the pump of a container; the caller must release the item.
func (k *Keeper) output(id string) (*item, error) {
	it, err := k.find(id)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	p := it.pump
	k.mu.Unlock()
	if p == nil {
		k.release(it)
		return nil, &wire.Error{Step: "find output", Path: id, Errno: syscall.ENOENT}
	}
	return it, nil
}

// reopen gives a container's log a new file.
func (k *Keeper) reopen(id string, fds []int) error {
	fd := -1
	if len(fds) > 0 {
		fd = fds[0]
		wire.CloseAll(fds[1:])
	}
	it, err := k.output(id)
	if err == nil {
		defer k.release(it)
		err = it.pump.reopen(fd)
	}
	if err != nil && fd >= 0 {
		unix.Close(fd)
	}
	return err
}

// attach copies a container's output to a pipe.
func (k *Keeper) attach(m *wire.AttachOut, fds []int) error {
	if len(fds) != 1 {
		wire.CloseAll(fds)
		return &wire.Error{Step: "attach", Path: m.ID, Errno: syscall.EINVAL}
	}
	it, err := k.output(m.ID)
	if err == nil {
		defer k.release(it)
		err = it.pump.attach(m, fds[0])
	}
	if err != nil {
		wire.CloseAll(fds)
	}
	return err
}

// detach ends attach.
func (k *Keeper) detach(m *wire.DetachOut) error {
	it, err := k.output(m.ID)
	if err != nil {
		return nil // gone with its pipes
	}
	defer k.release(it)
	return it.pump.detach(m.Attacher)
}
