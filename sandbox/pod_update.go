package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/oci"
)

// podLimits are the resources of a pod as its client last said: the sum of its
// containers', and what the pod itself costs. nil: as the pod's configuration
// has it.
type podLimits struct{ overhead, resources *cri.LinuxContainerResources }

// UpdatePodResources notes the resources of a whole pod, as the kubelet tells
// them before it resizes the pod's cgroup and its containers. The pod's cgroup
// is the kubelet's, and no process of ours stands for a pod, so that is all;
// what is nil stays as it is. The result is in the next status.
//
// Errors: ErrNotFound, ErrState (the pod is not ready), ErrInvalid.
func (p *Pods) UpdatePodResources(_ context.Context, id string, overhead, resources *cri.LinuxContainerResources) error {
	s, err := p.pod(id)
	if err != nil {
		return err
	}
	s.op.RLock()
	defer s.op.RUnlock()
	if err := p.updatePod(s, podLimits{overhead, resources}); err != nil {
		return fmt.Errorf("update resources of %s: %w", podName(s.config.GetMetadata()), err)
	}
	return nil
}

func (p *Pods) updatePod(s *pod, set podLimits) error {
	if s.gone {
		return ErrNotFound
	}
	for name, r := range map[string]*cri.LinuxContainerResources{"overhead": set.overhead, "resources": set.resources} {
		if err := oci.CheckResources(r); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrInvalid, name, err)
		}
	}
	s.holders.Lock()
	defer s.holders.Unlock()
	if !s.snapshot.Load().Ready {
		return fmt.Errorf("it is not ready: %w", ErrState)
	}
	next := s.limits
	if set.overhead != nil {
		next.overhead = set.overhead
	}
	if set.resources != nil {
		next.resources = set.resources
	}
	if err := recordPodLimits(s.dir, next); err != nil {
		return err
	}
	s.limits = next
	p.changePod(s, func(snap *Pod) { snap.Overhead, snap.Resources = s.effective() })
	return nil
}

// effective is what was said last, in an update or at first.
func (s *pod) effective() (overhead, resources *cri.LinuxContainerResources) {
	overhead, resources = s.limits.overhead, s.limits.resources
	if overhead == nil {
		overhead = s.config.GetLinux().GetOverhead()
	}
	if resources == nil {
		resources = s.config.GetLinux().GetResources()
	}
	return overhead, resources
}

func recordPodLimits(dir string, l podLimits) error {
	r := podLimitsRecord{Version: formatVersion}
	for to, m := range map[*json.RawMessage]*cri.LinuxContainerResources{&r.Overhead: l.overhead, &r.Resources: l.resources} {
		if m == nil {
			continue
		}
		text, err := encodeMessage(m)
		if err != nil {
			return err
		}
		*to = text
	}
	return writeRecord(dir, podLimitsFile, r)
}

// readPodLimits reads what was updated; nothing if nothing was.
func readPodLimits(dir string) (podLimits, error) {
	var l podLimits
	var r podLimitsRecord
	switch err := readRecord(dir, podLimitsFile, &r); {
	case errors.Is(err, fs.ErrNotExist):
		return l, nil
	case err != nil:
		return l, err
	}
	decode := func(text json.RawMessage) (*cri.LinuxContainerResources, error) {
		if len(text) == 0 {
			return nil, nil
		}
		m := &cri.LinuxContainerResources{}
		return m, decodeMessage(text, proto.Message(m))
	}
	var errOverhead, errResources error
	l.overhead, errOverhead = decode(r.Overhead)
	l.resources, errResources = decode(r.Resources)
	return l, errors.Join(errOverhead, errResources)
}
