package keeper

import (
	"context"
	"errors"
	"maps"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
	"slipway/sandbox/wire"
)

// spawn starts a program for a daemon and answers. The process is told to
// nobody else before the answer, so its Exit cannot overtake Spawned.
func (k *Keeper) spawn(s *session, seq uint64, m *wire.Spawn, fds []int) {
	it, memfd, prog, err := k.announce(m, fds)
	if err != nil {
		s.send(seq, wire.Refuse("spawn", err))
		return
	}
	if fd := it.fd(wire.FdOOM); fd >= 0 {
		it.oom = linux.OOMKills(fd)
	}
	k.starting(1) // until the child is in the table: sweep would take it for an orphan
	started, err := k.start(m, memfd, prog)
	if err == nil {
		err = k.adopt(s, it, m.Want, started)
	}
	k.starting(-1)
	wire.CloseAll(append(prog, memfd))
	if err != nil {
		k.sweep() // what ended during the start was left alone
		k.release(it)
		k.remove(it)
		s.send(seq, failed(err))
		return
	}
	answer := started.fds()
	if it.kind == wire.KindPod {
		answer = k.merge(it, m.Want)
		defer wire.CloseAll(answer)
	}
	s.send(seq, &wire.Spawned{ID: it.id, Pid: it.pid, OOM: it.oom}, answer...)
	if it.pid != 0 {
		if err := k.expect(it); err != nil {
			k.log.Printf("%s: %v", it.id, err)
		}
	}
	k.release(it)
}

// merge adds what a start for a pod brought to what is held under its id, and
// returns copies of what was offered: a Drop may come at any moment.
func (k *Keeper) merge(it *item, want []string) []int {
	var offered, list []int
	for _, name := range want {
		if c, err := duplicate(it.fds[name]); err == nil {
			offered = append(offered, c)
		}
	}
	names := slices.Sorted(maps.Keys(it.fds))
	for _, name := range names {
		list = append(list, it.fds[name])
	}
	it.fds = nil
	_ = k.hold(&wire.Hold{ID: it.id, Kind: it.kind, Names: names}, list) // names and descriptors match
	return offered
}

// fds are the descriptors of Spawned.
func (s Started) fds() []int {
	if s.Pid == 0 {
		return s.Offered
	}
	return append([]int{s.Pidfd}, s.Offered...)
}

// announce enters an item for a start, so that its id is taken, with one user.
func (k *Keeper) announce(m *wire.Spawn, fds []int) (it *item, memfd int, prog []int, err error) {
	if m.ProgramFds < 0 || len(fds) < 1+m.ProgramFds {
		wire.CloseAll(fds)
		return nil, -1, nil, &wire.Error{Step: "match descriptors to names", Errno: syscall.EINVAL}
	}
	memfd, prog = fds[0], fds[1:1+m.ProgramFds:1+m.ProgramFds]
	named, err := byName(m.Names, fds[1+m.ProgramFds:])
	if err != nil {
		wire.CloseAll(append(prog, memfd))
		return nil, -1, nil, err
	}
	it = &item{id: m.ID, kind: m.Kind, fds: named, users: 1}
	if it.kind == wire.KindPod { // may get its namespaces in several starts
		return it, memfd, prog, nil
	}
	if err := k.put(it); err != nil {
		for _, fd := range named {
			unix.Close(fd)
		}
		wire.CloseAll(append(prog, memfd))
		return nil, -1, nil, err
	}
	return it, memfd, prog, nil
}

func (k *Keeper) starting(n int) {
	k.mu.Lock()
	k.starts += n
	k.mu.Unlock()
}

// start runs the program within the time that the daemon gave.
func (k *Keeper) start(m *wire.Spawn, memfd int, prog []int) (Started, error) {
	limit := startLimit
	if m.TimeoutMS > 0 {
		limit = time.Duration(m.TimeoutMS) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	started, err := k.o.Starter.Start(ctx, memfd, prog, len(m.Want))
	if err != nil {
		return Started{}, err
	}
	if len(started.Offered) != len(m.Want) {
		kill(started)
		return Started{}, &wire.Error{Step: "fetch offered descriptors", Errno: syscall.EPROTO}
	}
	return started, nil
}

// adopt makes a started process the item's. One that was started for a daemon
// which has been replaced meanwhile is ended: the new one does not know of it.
func (k *Keeper) adopt(s *session, it *item, want []string, started Started) error {
	k.mu.Lock()
	if it.gone || k.session != nil && k.session != s {
		k.mu.Unlock()
		kill(started)
		return &wire.Error{Step: "spawn: dropped, or the daemon was replaced", Errno: syscall.ECANCELED}
	}
	if it.kind == wire.KindPod && started.Pid != 0 {
		k.mu.Unlock()
		kill(started)
		return &wire.Error{Step: "spawn: the program of a pod does not end", Errno: syscall.EINVAL}
	}
	it.pid = started.Pid
	if it.pid != 0 {
		it.fds[wire.FdPidfd] = started.Pidfd
	}
	for i, name := range want {
		it.fds[name] = started.Offered[i]
	}
	k.mu.Unlock()
	k.follow(it)
	return nil
}

// follow starts the pump of a process that runs. That its log cannot be kept is
// no reason to end it: the output is thrown away and the keeper says so.
func (k *Keeper) follow(it *item) {
	p, err := k.newPump(it)
	if err == nil && p != nil {
		if err = p.prepare(); err == nil {
			k.mu.Lock()
			it.pump = p
			k.mu.Unlock()
			err = p.arm()
		}
	}
	if err != nil {
		k.log.Printf("log of %s is not kept: %v", it.id, err)
	}
}

// watch looks after a process that runs already. Before the answer: a batch
// that an earlier keeper was killed over is in the log.
func (k *Keeper) watch(m *wire.Watch, fds []int) error {
	named, err := byName(m.Names, fds)
	if err != nil {
		return err
	}
	it := &item{id: m.ID, kind: m.Kind, pid: m.Pid, oom: m.OOM, fds: named, users: 1}
	if it.fd(wire.FdPidfd) < 0 {
		err = &wire.Error{Step: "watch: pidfd", Path: m.ID, Errno: syscall.EINVAL}
	} else {
		err = k.put(it)
	}
	if err != nil {
		wire.CloseAll(fds)
		return err
	}
	k.follow(it)
	err = k.expect(it)
	k.release(it)
	return err
}

// failed makes the answer to a start that did not succeed.
func failed(err error) *wire.Failed {
	var step *StepError
	if errors.As(err, &step) && step.Index < 0 { // before the first step
		return wire.Refuse("start process", step)
	}
	if step != nil {
		return &wire.Failed{Index: step.Index, Errno: int(step.Errno)}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return wire.Refuse("start", &wire.Error{Step: "start", Errno: syscall.ETIMEDOUT})
	}
	return wire.Refuse("start", err)
}
