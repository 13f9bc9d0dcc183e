package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/cni"
	"slipway/oci"
	"slipway/sandbox/cgroup"
	"slipway/sandbox/linux"
	"slipway/sandbox/program"
	"slipway/sandbox/wire"
)

// RunPod makes a pod sandbox: namespaces, files, network. It returns its id
// once the network is up. A repeated request joins the one that runs.
//
// Errors: ErrInvalid, ErrExists (the metadata is taken by another
// configuration), ErrUnavailable (no network to attach to).
func (p *Pods) RunPod(ctx context.Context, cfg *cri.PodSandboxConfig, handler string) (string, error) {
	if err := oci.CheckPod(cfg); err != nil {
		return "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err := p.checkHandler(handler); err != nil {
		return "", fmt.Errorf("%s: %w", podName(cfg.GetMetadata()), err)
	}
	id := newID()
	s := &pod{id: id, dir: p.podDir(id), config: cfg, handler: handler, created: time.Now().UnixNano(), parent: p.o.CgroupParent}
	if err := cgroup.CheckParent(p.o.Cgroups.Driver(), p.cgroupParent(s)); err != nil {
		return "", fmt.Errorf("%s: %w: %w", podName(cfg.GetMetadata()), ErrInvalid, err)
	}
	m := &making{what: podName(cfg.GetMetadata()), id: id, config: cfg, fresh: func() bool {
		snap := s.snapshot.Load()
		return snap != nil && snap.Ready
	}}
	return p.make(ctx, podKey(cfg.GetMetadata()), m, runLimit, func(ctx context.Context) error {
		return p.runPod(ctx, s)
	})
}

// runPod is the straight line. What a failing step leaves is undone by what
// dismantles a pod, which needs the records alone. From the last record on,
// which makes the pod whole, nothing fails.
func (p *Pods) runPod(ctx context.Context, s *pod) (err error) {
	s.op.Lock()
	defer s.op.Unlock()
	defer func() {
		if err != nil {
			err = fmt.Errorf("run %s: %w", podName(s.config.GetMetadata()), err)
			p.undoRun(ctx, s)
		}
	}()
	if err := p.recordPod(s); err != nil {
		return err
	}
	if err := p.makeNamespaces(ctx, s); err != nil {
		return err
	}
	if err := p.makeFiles(s); err != nil {
		return err
	}
	if err := p.attachNetwork(ctx, s); err != nil {
		return err
	}
	p.publishPod(s, p.describe(s, true), EventCreated, EventStarted)
	return nil
}

// undoRun takes back a pod that did not come to be. What cannot be undone now
// keeps its record and shows as a pod that is not ready: whoever removes it, or
// the next start, tries again.
func (p *Pods) undoRun(ctx context.Context, s *pod) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	err := p.dismantle(ctx, s)
	if err == nil {
		err = p.removePodRecords(s)
	}
	if err != nil {
		p.log.Warn("a pod sandbox that failed leaves something behind; it is shown as not ready until it can be removed", "pod", s.id, "error", err)
		p.publishPod(s, p.describe(s, false), EventCreated)
	}
}

// recordPod announces the pod before anything of it is made.
func (p *Pods) recordPod(s *pod) error {
	cfg, err := encodeMessage(s.config)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return writeRecord(s.dir, podFile, podRecord{
		Version: formatVersion, ID: s.id, Boot: p.boot,
		Created: s.created, Handler: s.handler, CgroupParent: s.parent, Config: cfg,
	})
}

// makeNamespaces has the keeper make the pod's namespaces. A child that makes
// them lives for a moment; what stays are fds in both processes, and for the
// network a bind under the names that plugins expect.
func (p *Pods) makeNamespaces(ctx context.Context, s *pod) error {
	sysctls, err := oci.PodSysctls(s.config)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	uids, gids := s.users()
	b := &program.Pod{
		User: s.ownUsers(), UIDs: uids, GIDs: gids,
		Net: !s.hostNetwork(), UTS: !s.hostNetwork(), IPC: !s.hostIPC(),
		Hostname: s.hostname(), Sysctls: sysctls,
	}
	if err := p.spawnNamespaces(ctx, s, b); err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	if fd, ok := s.namespaces[specs.NetworkNamespace]; ok {
		if err := linux.BindNamespace(fd, p.netnsPath(s.id)); err != nil {
			return err
		}
	}
	return nil
}

// spawnNamespaces adds the namespaces that b describes to the pod's.
func (p *Pods) spawnNamespaces(ctx context.Context, s *pod, b *program.Pod) error {
	if s.namespaces == nil {
		s.namespaces = map[specs.LinuxNamespaceType]int{}
	}
	kinds := b.Offers()
	if len(kinds) == 0 {
		return nil
	}
	want := make([]string, len(kinds))
	for i, kind := range kinds {
		want[i] = string(kind)
	}
	prog, err := b.Build(ctx)
	if err != nil {
		return err
	}
	defer prog.Close()
	ch, err := p.link.spawn(ctx, spawn{ID: s.id, Kind: wire.KindPod, Program: prog, Want: want})
	if err != nil {
		return err
	}
	_ = linux.Close(ch.Pidfd) // the child that made them is gone
	for _, kind := range kinds {
		s.namespaces[kind] = ch.Offered[string(kind)]
	}
	return nil
}

// attachNetwork records that it tries before it does: an address that was
// given and forgotten is lost until a person looks for it.
func (p *Pods) attachNetwork(ctx context.Context, s *pod) error {
	if s.hostNetwork() {
		s.network = &netRecord{Version: formatVersion, State: netHost}
		return writeRecord(s.dir, netFile, s.network)
	}
	attempt, err := p.o.Network.Attempt(p.network(s))
	if errors.Is(err, cni.ErrInvalid) {
		return fmt.Errorf("attach network: %w: %w", ErrInvalid, err)
	}
	if err != nil {
		return fmt.Errorf("attach network: %w: %w", ErrUnavailable, err)
	}
	record := &netRecord{Version: formatVersion, State: netAttempting, Attachment: attempt}
	if err := writeRecord(s.dir, netFile, record); err != nil {
		return err
	}
	s.network = record
	attached, err := p.o.Network.Attach(ctx, p.network(s), attempt)
	if err != nil {
		return fmt.Errorf("attach network: %w", err)
	}
	if len(attached.IPs()) == 0 {
		return errors.New("attach network: the plugins gave no address")
	}
	record = &netRecord{Version: formatVersion, State: netAttached, Attachment: attached}
	if err := writeRecord(s.dir, netFile, record); err != nil {
		return err
	}
	s.network = record
	return nil
}
