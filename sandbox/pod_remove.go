package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// RemovePod stops a pod, removes its containers and forgets it. A pod that is
// not there is removed.
func (p *Pods) RemovePod(ctx context.Context, id string) error {
	s, err := p.pod(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	s.op.Lock()
	defer s.op.Unlock()
	if err := p.removePod(ctx, s); err != nil {
		return fmt.Errorf("remove %s: %w", podName(s.config.GetMetadata()), err)
	}
	return nil
}

func (p *Pods) removePod(ctx context.Context, s *pod) error {
	if s.gone {
		return nil
	}
	if err := p.stopPod(ctx, s); err != nil {
		return err
	}
	for _, c := range p.containersOf(s.id) {
		if err := p.removeContainer(ctx, c); err != nil {
			return err
		}
	}
	p.leaveParent(ctx, s)
	if err := p.removePodRecords(s); err != nil {
		return err
	}
	s.gone = true
	p.hidePod(s)
	p.freeName(podKey(s.config.GetMetadata()), s.id)
	return nil
}

// leaveParent removes the pod's parent cgroup where it is empty: on v1 we make
// it in hierarchies that the kubelet, who owns it, does not know.
func (p *Pods) leaveParent(ctx context.Context, s *pod) {
	parent := s.config.GetLinux().GetCgroupParent()
	if parent == "" || p.o.Cgroups.Version() != "v1" || strings.HasSuffix(parent, ".slice") {
		return
	}
	if err := p.o.Cgroups.RemoveParent(ctx, parent); err != nil {
		p.log.Debug("parent cgroup", "pod", s.id, "error", err)
	}
}

// removePodRecords forgets a stopped pod: the rename is the moment.
func (p *Pods) removePodRecords(s *pod) error {
	trash := filepath.Join(p.removingDir(), s.id)
	if err := os.Rename(s.dir, trash); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := os.RemoveAll(trash); err != nil {
		p.log.Warn("the records of a removed pod sandbox are not all gone; it is tried again", "pod", s.id, "error", err)
		p.leftovers.left()
	}
	return nil
}
