package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"slipway/sandbox/linux"
	"slipway/sandbox/wire"
)

// ask sends a request to the keeper, waiting for one to be there.
func (l *link) ask(ctx context.Context, m wire.Message, fds []int, took func(wire.Packet)) (wire.Packet, error) {
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	w, err := l.wait(ctx)
	if err != nil {
		return wire.Packet{}, err
	}
	p, err := w.ask(ctx, m, fds, took)
	if err != nil {
		return p, err
	}
	if f, ok := p.Message.(*wire.Failed); ok && f.Index < 0 {
		wire.CloseAll(p.Fds)
		return p, f.Error()
	}
	return p, nil
}

// wait returns the connection, once there is one.
func (l *link) wait(ctx context.Context) (*keeperWire, error) {
	for {
		l.mu.Lock()
		w, up := l.wire, l.up
		l.mu.Unlock()
		if w != nil {
			return w, nil
		}
		select {
		case <-up:
		case <-l.ctx.Done():
			return nil, fmt.Errorf("keeper: link is closed: %w", ErrUnavailable)
		case <-ctx.Done():
			return nil, fmt.Errorf("keeper: there is none yet: %w", errors.Join(ErrUnavailable, ctx.Err()))
		}
	}
}

// watch has the keeper look after a running process: its output, its end.
func (l *link) watch(ctx context.Context, w watch) error {
	k, err := l.keep(w.ID, w.Kind, w.Fds)
	if err != nil {
		return err
	}
	l.mu.Lock()
	k.pid, k.oom, k.orphan = w.Pid, w.OOM, true
	k.starts = true // a new keeper must not get it twice
	l.mu.Unlock()
	names, list := split(present(w.Fds))
	_, err = l.ask(ctx, &wire.Watch{ID: w.ID, Kind: w.Kind, Pid: w.Pid, Names: names, OOM: w.OOM}, list, nil)
	l.mu.Lock()
	k.starts = false
	l.mu.Unlock()
	if err != nil && !errors.Is(err, errKeeperDied) {
		l.forget(w.ID)
	}
	if errors.Is(err, errKeeperDied) {
		return l.equip(ctx, w.ID) // looking after it twice does no harm
	}
	return err
}

// equip hands one id to the keeper that is there now.
func (l *link) equip(ctx context.Context, id string) error {
	w, err := l.wait(ctx)
	if err != nil {
		return err
	}
	err = l.handOne(ctx, w, id)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// hold gives descriptors into custody (both processes keep copies) under an id,
// beside those it may have already.
func (l *link) hold(ctx context.Context, id string, fds map[string]int) error {
	if _, err := l.keep(id, wire.KindPod, fds); err != nil {
		return err
	}
	names, list := split(present(fds))
	_, err := l.ask(ctx, &wire.Hold{ID: id, Kind: wire.KindPod, Names: names}, list, nil)
	if errors.Is(err, errKeeperDied) { // the next one gets all that is kept
		_, err = l.wait(ctx)
	}
	return err
}

// drop ends custody of an id. It is no error when there is none.
func (l *link) drop(ctx context.Context, id string) error {
	l.forget(id)
	_, err := l.ask(ctx, &wire.Drop{ID: id}, nil, nil)
	if errors.Is(err, errKeeperDied) { // and with it all that it held
		return nil
	}
	return err
}

// reopen gives a new log file, -1 to throw the output away from now on. No byte
// is lost between the files. After errKeeperDied the new file is the log all
// the same: the next keeper is told of both and finds out which one the last
// batch went to.
func (l *link) reopen(ctx context.Context, id string, log int) error {
	var fds []int
	if log >= 0 {
		fds = []int{log}
		next, err := linux.Dup(log)
		if err != nil {
			return fmt.Errorf("copy log descriptor: %w", err)
		}
		if !l.note(id, wire.FdLogNext, next) {
			_ = linux.Close(next)
		}
	}
	_, err := l.ask(ctx, &wire.Reopen{ID: id}, fds, nil)
	if errors.Is(err, errKeeperDied) || ctx.Err() != nil {
		return err
	}
	l.reopened(id, err == nil)
	if err == nil && log < 0 {
		l.unnote(id, wire.FdLog)
	}
	return err
}

// note keeps a descriptor of a known id; false when there is no such id.
func (l *link) note(id, name string, fd int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.kept[id]
	if k != nil {
		k.set(name, fd)
	}
	return k != nil
}

// borrow returns a copy of a descriptor that is kept under an id.
// Errors: fs.ErrNotExist.
func (l *link) borrow(id, name string) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.kept[id]; k != nil {
		if fd, ok := k.fds[name]; ok {
			return linux.Dup(fd)
		}
	}
	return -1, fmt.Errorf("descriptor %q of %q: %w", name, id, fs.ErrNotExist)
}

func (l *link) unnote(id, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.kept[id]; k != nil {
		k.unset(name)
	}
}

// reopened notes how a Reopen went.
func (l *link) reopened(id string, yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.kept[id]
	if k == nil {
		return
	}
	if fd, ok := k.fds[wire.FdLogNext]; ok && yes {
		delete(k.fds, wire.FdLogNext)
		k.set(wire.FdLog, fd)
		return
	}
	k.unset(wire.FdLogNext)
}

// attachOut copies the output of a container to the pipe fd from now on, until
// detachOut, until the container ends (the pipe is closed), or until the reader
// is too slow (OnDetached). The fd stays the caller's and is made non-blocking.
// A new keeper does not know of it: the pipe ends with the keeper.
func (l *link) attachOut(ctx context.Context, a wire.AttachOut, fd int) error {
	_, err := l.ask(ctx, &a, []int{fd}, nil)
	return err
}

// detachOut ends attachOut. It is no error when it has ended.
func (l *link) detachOut(ctx context.Context, id, attacher string) error {
	_, err := l.ask(ctx, &wire.DetachOut{ID: id, Attacher: attacher}, nil, nil)
	return err
}

// ping asks whether the keeper answers.
func (l *link) ping(ctx context.Context) error {
	_, err := l.ask(ctx, &wire.Ping{}, nil, nil)
	return err
}

// close ends the link and waits for its goroutines. orderly tells the keeper,
// which then ends when it holds nothing; otherwise it goes on as after a crash
// of the daemon.
func (l *link) close(orderly bool) error {
	var err error
	if orderly {
		ctx, cancel := context.WithTimeout(l.ctx, byeBound)
		_, err = l.ask(ctx, &wire.Bye{}, nil, nil)
		cancel()
	}
	l.cancel()
	l.mu.Lock()
	if l.wire != nil {
		_ = l.wire.conn.Close()
	}
	ids := slices.Collect(maps.Keys(l.kept))
	l.mu.Unlock()
	l.work.Wait()
	for _, id := range ids {
		l.forget(id)
	}
	if l.child >= 0 {
		_ = linux.Close(l.child)
	}
	return err
}

// askBound is for callers without a limit of their own; a keeper that takes
// longer has hung.
const askBound = time.Minute

const byeBound = 2 * time.Second
