package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"slipway/sandbox/cgroup"
	"slipway/sandbox/linux"
	"slipway/sandbox/program"
	"slipway/sandbox/wire"
)

// takeNamespaces takes over the namespace fds that the keeper kept.
func (p *Pods) takeNamespaces(s *pod, keeps map[string]*held) {
	s.namespaces = map[specs.LinuxNamespaceType]int{}
	h := keeps[s.id]
	if h == nil {
		return
	}
	for _, kind := range s.kinds() {
		if fd, ok := h.Fds[string(kind)]; ok {
			s.namespaces[kind] = fd
			delete(h.Fds, string(kind))
		}
	}
}

// kinds lists the namespaces that a pod has of its own.
func (s *pod) kinds() []specs.LinuxNamespaceType {
	var kinds []specs.LinuxNamespaceType
	if !s.hostNetwork() {
		kinds = append(kinds, specs.NetworkNamespace, specs.UTSNamespace)
	}
	if !s.hostIPC() {
		kinds = append(kinds, specs.IPCNamespace)
	}
	if s.ownUsers() { // which the network tells, when nobody else can
		kinds = append(kinds, specs.UserNamespace)
	}
	return kinds
}

// restorePod gives a ready pod again what somebody took away while no daemon
// was there, or what died with the keeper.
func (p *Pods) restorePod(ctx context.Context, s *pod) error {
	if err := p.restoreNamespaces(ctx, s); err != nil {
		return err
	}
	if fd, ok := s.namespaces[specs.NetworkNamespace]; ok {
		bind, err := linux.OpenNamespace(p.netnsPath(s.id))
		if err != nil {
			p.log.Warn("the bind of a network namespace is gone; it is made again", "pod", s.id, "error", err)
			return linux.BindNamespace(fd, p.netnsPath(s.id))
		}
		_ = linux.Close(bind)
	}
	if exists(p.hostsPath(s.id)) {
		return nil
	}
	p.log.Warn("the files of a pod sandbox are gone; they are made again", "pod", s.id)
	if err := p.removeFiles(s.id); err != nil { // a part may be there
		return err
	}
	return p.makeFiles(s)
}

// restoreNamespaces finds what the keeper could not give back because it had
// died together with the daemon: the network namespace by its bind, the others
// in a container that runs. With none running they held nothing but their
// settings, and are made anew.
func (p *Pods) restoreNamespaces(ctx context.Context, s *pod) error {
	var missing []specs.LinuxNamespaceType
	found := map[string]int{}
	for _, kind := range s.kinds() {
		if _, ok := s.namespaces[kind]; ok {
			continue
		}
		fd, err := p.findNamespace(s, kind)
		switch {
		case err == nil:
			s.namespaces[kind], found[string(kind)] = fd, fd
		case kind != specs.NetworkNamespace && errors.Is(err, fs.ErrNotExist):
			missing = append(missing, kind)
		default:
			return fmt.Errorf("%s namespace: %w", kind, err)
		}
	}
	if len(found) > 0 {
		if err := p.link.hold(ctx, s.id, found); err != nil {
			return err
		}
	}
	if len(missing) == 0 {
		return nil
	}
	b := &program.Pod{
		User:     slices.Contains(missing, specs.UserNamespace),
		IPC:      slices.Contains(missing, specs.IPCNamespace),
		UTS:      slices.Contains(missing, specs.UTSNamespace),
		Hostname: s.hostname(),
	}
	if fd, ok := s.namespaces[specs.UserNamespace]; ok {
		b.Into = &fd
	}
	b.UIDs, b.GIDs = s.users()
	return p.spawnNamespaces(ctx, s, b)
}

// namespaceFile is a namespace's name below /proc/PID/ns.
var namespaceFile = map[specs.LinuxNamespaceType]string{
	specs.NetworkNamespace: "net",
	specs.IPCNamespace:     "ipc",
	specs.UTSNamespace:     "uts",
	specs.UserNamespace:    "user",
}

func (p *Pods) findNamespace(s *pod, kind specs.LinuxNamespaceType) (int, error) {
	if kind == specs.NetworkNamespace {
		if fd, err := linux.OpenNamespace(p.netnsPath(s.id)); err == nil {
			return fd, nil
		}
	}
	if net, ok := s.namespaces[specs.NetworkNamespace]; ok && kind == specs.UserNamespace {
		return linux.UsersOf(net)
	}
	for _, c := range p.containersOf(s.id) {
		if c.process == nil {
			continue
		}
		fd, err := linux.OpenNamespace("/proc/" + strconv.Itoa(c.process.pid) + "/ns/" + namespaceFile[kind])
		if err != nil {
			continue
		}
		if linux.ProcessEnded(c.process.pidfd) { // the number may have been another's
			_ = linux.Close(fd)
			continue
		}
		return fd, nil
	}
	return -1, fs.ErrNotExist
}

// takeReaper takes over PID 1 of the pod's shared PID namespace. What is left of
// one whose start was cut off is taken away.
func (p *Pods) takeReaper(ctx context.Context, s *pod, keeps map[string]*held) {
	var r processRecord
	if err := readRecord(s.dir, reaperFile, &r); err != nil {
		if keeps[reaperID(s.id)] == nil && errors.Is(err, fs.ErrNotExist) && !p.grouped(s) {
			return
		}
		p.dropReaper(ctx, s, err)
		return
	}
	pr, err := p.takeProcess(ctx, reaperID(s.id), wire.KindReaper, r, keeps, func() (map[string]int, error) { return map[string]int{}, nil })
	if err != nil {
		p.dropReaper(ctx, s, err)
		return
	}
	s.reaper = pr
	p.publishPod(s, p.describe(s, true))
}

// grouped says whether a cgroup of the pod's PID 1 is there.
func (p *Pods) grouped(s *pod) bool {
	g, err := p.o.Cgroups.Open(p.cgroupPath(s, s.id))
	if err == nil {
		g.Close()
	}
	return !errors.Is(err, cgroup.ErrNotFound)
}

func (p *Pods) dropReaper(ctx context.Context, s *pod, cause error) {
	err := p.stopReaper(ctx, s)
	p.log.Info("PID 1 of a shared PID namespace is gone", "pod", s.id, "cause", cause, "error", err)
}

// takeProcess takes over a process: from the keeper that is its parent, or, when
// that has died too, by its number and start time; then the keeper is asked to
// look after it with the fds that plumbing opens.
func (p *Pods) takeProcess(ctx context.Context, id string, kind wire.Kind, r processRecord, keeps map[string]*held, plumbing func() (map[string]int, error)) (*process, error) {
	if h := keeps[id]; h != nil {
		fd, ok := h.Fds[wire.FdPidfd]
		if h.Exit != nil || !ok {
			return nil, fs.ErrNotExist
		}
		delete(h.Fds, wire.FdPidfd)
		return &process{pid: h.Pid, pidfd: fd}, nil
	}
	fd, err := linux.OpenProcess(r.Pid)
	if err != nil {
		return nil, err
	}
	ticks, err := startTime(r.Pid)
	if err == nil && (ticks != r.StartTime || linux.ProcessEnded(fd)) {
		err = fs.ErrNotExist
	}
	if err != nil {
		_ = linux.Close(fd)
		return nil, err
	}
	fds, err := plumbing()
	if err != nil {
		_ = linux.Close(fd)
		return nil, err
	}
	defer (&files{named: fds}).close()
	own, err := linux.Dup(fd)
	if err != nil {
		_ = linux.Close(fd)
		return nil, err
	}
	fds[wire.FdPidfd] = fd
	if err := p.link.watch(ctx, watch{ID: id, Kind: kind, Pid: r.Pid, Fds: fds}); err != nil {
		_ = linux.Close(own)
		return nil, err
	}
	return &process{pid: r.Pid, pidfd: own}, nil
}
