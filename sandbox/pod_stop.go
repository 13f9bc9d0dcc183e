package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// stopPod undoes what runPod made, in reverse, from the records; s.op is held
// whole. Each step may be repeated. The record stays, and says stopped.
func (p *Pods) stopPod(ctx context.Context, s *pod) error {
	if s.gone {
		return nil
	}
	if snap := s.snapshot.Load(); snap != nil && snap.Ready {
		s.snapshot.Store(p.describe(s, false)) // not ready from here on, however far it gets
	}
	var errs []error
	for _, c := range p.containersOf(s.id) {
		errs = append(errs, p.stopContainer(ctx, c, 0))
	}
	errs = append(errs, p.stopReaper(ctx, s))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := p.detachNetwork(ctx, s); err != nil {
		return err
	}
	if err := p.dropNamespaces(ctx, s); err != nil {
		return err
	}
	if err := p.removeFiles(s.id); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(s.dir, stoppedFile)); err == nil {
		return nil
	}
	return writeRecord(s.dir, stoppedFile, stoppedRecord{Version: formatVersion, At: time.Now().UnixNano()})
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
