package sandbox

import (
	"context"
	"fmt"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox/linux"
	"slipway/sandbox/program"
	"slipway/sandbox/wire"
)

// joinNamespaces says which namespaces a container's process joins, by fd.
func (p *Pods) joinNamespaces(ctx context.Context, c *container, f *files, b *program.Container) error {
	b.PidInit, b.Join = -1, map[specs.LinuxNamespaceType]int{}
	c.pod.holders.Lock()
	for kind, fd := range c.pod.namespaces {
		b.Join[kind] = fd
	}
	c.pod.holders.Unlock()
	switch o := c.options(); o.GetPid() {
	case cri.NamespaceMode_POD:
		r, err := p.reaperOf(ctx, c.pod)
		if err != nil {
			return fmt.Errorf("PID namespace of the pod: %w", err)
		}
		b.PidInit = r.pidfd
	case cri.NamespaceMode_TARGET:
		t, err := p.container(o.GetTargetId())
		if err != nil {
			return fmt.Errorf("target of the PID namespace: %w", err)
		}
		snap := t.snapshot.Load()
		if snap.State != Running {
			return fmt.Errorf("target %q of the PID namespace does not run: %w", t.id, ErrState)
		}
		fd, err := linux.OpenProcess(snap.Pid)
		if err != nil {
			return fmt.Errorf("target %q of the PID namespace: %w", t.id, err)
		}
		b.PidInit, b.PidInitLocked = f.add(fd), c.pod.ownUsers()
		if t.snapshot.Load().State != Running { // the number may be another's by now
			return fmt.Errorf("target %q of the PID namespace has ended: %w", t.id, ErrState)
		}
	}
	return nil
}

// reaperOf returns PID 1 of the pod's shared PID namespace; the first container
// that shares has it made.
func (p *Pods) reaperOf(ctx context.Context, s *pod) (*process, error) {
	s.holders.Lock()
	defer s.holders.Unlock()
	if s.reaper != nil {
		return s.reaper, nil
	}
	r, err := p.makeReaper(ctx, s)
	if err != nil {
		if e := p.clearReaper(context.WithoutCancel(ctx), s); e != nil {
			p.log.Warn("PID 1 of a shared PID namespace that failed", "pod", s.id, "error", e)
		}
		return nil, err
	}
	s.reaper = r
	p.changePod(s, func(snap *Pod) { snap.Pid = r.pid })
	return r, nil
}

// makeReaper starts PID 1 of a shared PID namespace; s.holders is held.
func (p *Pods) makeReaper(ctx context.Context, s *pod) (*process, error) {
	group, err := p.o.Cgroups.Create(ctx, p.cgroupPath(s, s.id), &specs.LinuxResources{})
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	defer group.Close()
	into, procs, err := group.Join()
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	f := newFiles()
	defer f.close()
	f.other = append(f.other, procs...)
	if into >= 0 {
		f.add(into)
	}
	gate, err := group.Gate(ctx)
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	prog, err := (&program.Reaper{Join: s.namespaces, Cgroup: program.Cgroup{Into: into, Procs: procs, Gate: gate.Fd()}}).Build(ctx)
	if err != nil {
		return nil, err
	}
	defer prog.Close()
	ch, err := p.spawnGated(ctx, gate, spawn{ID: reaperID(s.id), Kind: wire.KindReaper, Program: prog})
	if err != nil {
		return nil, err
	}
	if err := recordStart(s.dir, reaperFile, ch.Pid, time.Now()); err != nil {
		_ = linux.Close(ch.Pidfd)
		return nil, err
	}
	return &process{pid: ch.Pid, pidfd: ch.Pidfd}, nil
}

// reaperSuffix makes the id of a pod's PID 1 from the pod's.
const reaperSuffix = "/pid1"

func reaperID(pod string) string { return pod + reaperSuffix }

// reaperExited forgets a PID 1 that has ended by itself: all that shared its
// PID namespace ended with it, and the next container gets a new one.
func (p *Pods) reaperExited(s *pod) {
	s.holders.Lock()
	defer s.holders.Unlock()
	if s.reaper == nil || !linux.ProcessEnded(s.reaper.pidfd) {
		return
	}
	p.log.Warn("PID 1 of a shared PID namespace has ended", "pod", s.id)
	ctx, cancel := context.WithTimeout(context.Background(), cleanupLimit)
	defer cancel()
	if err := p.clearReaper(ctx, s); err != nil {
		p.log.Warn("PID 1 of a shared PID namespace", "pod", s.id, "error", err)
	}
	p.changePod(s, func(snap *Pod) { snap.Pid = 0 })
}

// stopReaper ends the shared PID namespace, and with it whatever was left in it.
func (p *Pods) stopReaper(ctx context.Context, s *pod) error {
	s.holders.Lock()
	defer s.holders.Unlock()
	return p.clearReaper(ctx, s)
}

// clearReaper takes away all of a PID 1; s.holders is held. None there is fine.
func (p *Pods) clearReaper(ctx context.Context, s *pod) error {
	if err := p.killGroup(ctx, p.cgroupPath(s, s.id)); err != nil {
		return fmt.Errorf("PID 1 of the pod: %w", err)
	}
	if s.reaper != nil {
		_ = linux.Close(s.reaper.pidfd)
		s.reaper = nil
	}
	if err := p.link.drop(ctx, reaperID(s.id)); err != nil {
		return err
	}
	return removeFile(s.dir, reaperFile)
}
