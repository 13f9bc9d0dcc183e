package sandbox

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"slipway/sandbox/linux"
	"slipway/sandbox/program"
	"slipway/sandbox/wire"
)

// spawn starts a process. A failing step is a *wire.Error that names it. On any
// error nothing is held and the process, if there was one, is gone, except
// after errKeeperDied and the end of ctx: then drop the id and kill its cgroup.
func (l *link) spawn(ctx context.Context, s spawn) (child, error) {
	memfd, err := s.Program.Seal()
	if err != nil {
		return child{}, fmt.Errorf("seal program: %w", err)
	}
	defer linux.Close(memfd)
	k, fresh, err := l.announce(s)
	if err != nil {
		return child{}, err
	}
	prog := s.Program.Fds()
	names, list := split(present(s.Fds))
	m := &wire.Spawn{ID: s.ID, Kind: s.Kind, ProgramFds: len(prog), Names: names, Want: s.Want, TimeoutMS: s.Timeout.Milliseconds()}
	fds := append(append([]int{memfd}, prog...), list...)
	var c child
	p, err := l.ask(ctx, m, fds, func(p wire.Packet) { c = l.spawned(k, s.Want, p) })
	if f, ok := p.Message.(*wire.Failed); ok && err == nil {
		err = stepError(s.Program, f)
	}
	if err != nil && fresh {
		l.forget(s.ID)
	}
	return c, err
}

// announce keeps copies for a start before it is asked for: when the keeper
// dies right after its answer they are all there is. fresh is false for a pod
// that has an entry already.
func (l *link) announce(s spawn) (k *kept, fresh bool, err error) {
	l.mu.Lock()
	fresh = l.kept[s.ID] == nil
	l.mu.Unlock()
	if !fresh && s.Kind != wire.KindPod {
		return nil, false, &wire.Error{Step: "hold", Path: s.ID, Errno: syscall.EEXIST}
	}
	if k, err = l.keep(s.ID, s.Kind, s.Fds); err != nil {
		return nil, false, err
	}
	l.mu.Lock()
	k.starts = fresh
	l.mu.Unlock()
	return k, fresh, nil
}

// spawned notes a start in the reader, before the keeper's next message or its end.
func (l *link) spawned(k *kept, want []string, p wire.Packet) child {
	m, ok := p.Message.(*wire.Spawned)
	if !ok {
		return child{}
	}
	c := child{Pid: m.Pid, Pidfd: -1, OOM: m.OOM, Offered: map[string]int{}}
	fds := p.Fds
	if m.Pid != 0 && len(fds) > 0 {
		c.Pidfd, fds = fds[0], fds[1:]
	}
	for i, fd := range fds {
		if i < len(want) {
			c.Offered[want[i]] = fd
		} else {
			_ = linux.Close(fd)
		}
	}
	mine, err := copies(c.Offered)
	if err == nil && c.Pidfd >= 0 {
		var fd int
		if fd, err = linux.Dup(c.Pidfd); err == nil {
			mine[wire.FdPidfd] = fd
		}
	}
	if err != nil { // the keeper has them; only its death would show the lack
		l.o.Log.Error("descriptors of a started process cannot be kept", "id", k.id, "error", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k.pid, k.oom, k.starts = m.Pid, m.OOM, false
	for name, fd := range mine {
		k.set(name, fd)
	}
	return c
}

// stepError names the step that failed.
func stepError(p sealed, f *wire.Failed) error {
	err := p.Failure(f.Index, syscall.Errno(f.Errno))
	var step *program.StepError
	if errors.As(err, &step) {
		return &wire.Error{Step: step.Step, Path: step.Path, Errno: step.Errno}
	}
	return err
}
