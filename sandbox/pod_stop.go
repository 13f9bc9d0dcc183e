package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"slipway/sandbox/linux"
)

// StopPod ends all containers of a pod, then gives its network back. It may be
// called any number of times; a pod that is not there is stopped.
func (p *Pods) StopPod(ctx context.Context, id string) error {
	s, err := p.pod(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	s.op.Lock()
	defer s.op.Unlock()
	if err := p.stopPod(ctx, s); err != nil {
		return fmt.Errorf("stop %s: %w", podName(s.config.GetMetadata()), err)
	}
	return nil
}

// stopPod announces that the pod will be nothing but records, then takes apart
// what else there is. A crash at any point leaves a pod that is stopped, and
// the next start goes on.
func (p *Pods) stopPod(ctx context.Context, s *pod) error {
	if s.gone {
		return nil
	}
	if err := announceStop(s); err != nil {
		return err
	}
	return p.dismantle(ctx, s)
}

// announceStop writes stopped.json. A full disk must not keep a pod from being
// stopped: a second name of a file that is there needs no space, and that
// stopped.json exists is all that it says. A pod whose own record could not be
// written has nothing to add it to: the next start takes such a directory away.
func announceStop(s *pod) error {
	if exists(filepath.Join(s.dir, stoppedFile)) || !exists(filepath.Join(s.dir, podFile)) {
		return nil
	}
	err := writeRecord(s.dir, stoppedFile, stoppedRecord{Version: formatVersion, At: time.Now().UnixNano()})
	if err != nil && os.Link(filepath.Join(s.dir, podFile), filepath.Join(s.dir, stoppedFile)) == nil {
		return nil
	}
	return err
}

// dismantle undoes what runPod made, in reverse, from the records; s.op is held
// whole. Each step may be repeated. The records stay.
func (p *Pods) dismantle(ctx context.Context, s *pod) error {
	snap := s.snapshot.Load()
	wasReady := snap != nil && snap.Ready
	if wasReady {
		p.changePod(s, func(snap *Pod) { snap.Ready, snap.Pid = false, 0 }) // not ready from here on, however far it gets
	}
	s.gauge.close()
	err := p.stopContainers(ctx, s)
	if wasReady {
		p.tellPodStopped(s) // after its containers' ends, as elsewhere
	}
	if err != nil {
		return err
	}
	if err := p.stopReaper(ctx, s); err != nil {
		return err
	}
	if err := p.detachNetwork(ctx, s); err != nil {
		return err
	}
	if err := p.dropNamespaces(ctx, s); err != nil {
		return err
	}
	return p.removeFiles(s.id)
}

// stopContainers ends all containers of a pod at once: one that cannot be
// killed does not keep the others alive.
func (p *Pods) stopContainers(ctx context.Context, s *pod) error {
	all := p.containersOf(s.id)
	errs := make([]error, len(all))
	var wait sync.WaitGroup
	for i, c := range all {
		wait.Go(func() { errs[i] = p.stopContainer(ctx, c, 0) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

// detachNetwork runs DEL for whatever was tried, until it succeeds once. The
// addresses stay in the snapshot: the kubelet reads them of a dead pod too.
func (p *Pods) detachNetwork(ctx context.Context, s *pod) error {
	n := s.network
	if n == nil || n.State == netHost || n.Attachment == nil {
		return nil
	}
	if err := p.o.Network.Detach(ctx, p.network(s), n.Attachment); err != nil {
		return fmt.Errorf("detach network: %w", err)
	}
	if err := removeFile(s.dir, netFile); err != nil {
		return err
	}
	s.network = nil
	return nil
}

func (p *Pods) dropNamespaces(ctx context.Context, s *pod) error {
	if err := linux.UnbindNamespace(p.netnsPath(s.id)); err != nil {
		return fmt.Errorf("unbind network namespace: %w", err)
	}
	s.holders.Lock()
	defer s.holders.Unlock()
	for kind, fd := range s.namespaces {
		_ = linux.Close(fd)
		delete(s.namespaces, kind)
	}
	return p.link.drop(ctx, s.id)
}
