package server

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
)

// RunPodSandbox makes a pod and its network.
func (s *runtimeService) RunPodSandbox(ctx context.Context, req *cri.RunPodSandboxRequest) (*cri.RunPodSandboxResponse, error) {
	if req.GetConfig() == nil {
		return nil, fmt.Errorf("run pod sandbox: the request has no config: %w", sandbox.ErrInvalid)
	}
	id, err := s.pods.RunPod(ctx, req.GetConfig(), req.GetRuntimeHandler())
	if err != nil {
		return nil, err
	}
	return &cri.RunPodSandboxResponse{PodSandboxId: id}, nil
}

// StopPodSandbox ends a pod's containers and gives its network back.
func (s *runtimeService) StopPodSandbox(ctx context.Context, req *cri.StopPodSandboxRequest) (*cri.StopPodSandboxResponse, error) {
	return &cri.StopPodSandboxResponse{}, s.pods.StopPod(ctx, req.GetPodSandboxId())
}

// RemovePodSandbox takes a pod away, its containers first.
func (s *runtimeService) RemovePodSandbox(ctx context.Context, req *cri.RemovePodSandboxRequest) (*cri.RemovePodSandboxResponse, error) {
	return &cri.RemovePodSandboxResponse{}, s.pods.RemovePod(ctx, req.GetPodSandboxId())
}

// PodSandboxStatus describes one pod with its containers. The timestamp says to
// the kubelet that the list is whole, and orders it among events.
func (s *runtimeService) PodSandboxStatus(_ context.Context, req *cri.PodSandboxStatusRequest) (*cri.PodSandboxStatusResponse, error) {
	v, err := s.pods.View(req.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	resp := &cri.PodSandboxStatusResponse{
		Status:             podStatus(v.Pod),
		ContainersStatuses: containerStatuses(v.Containers),
		Timestamp:          nanos(v.At),
	}
	if req.GetVerbose() {
		resp.Info, err = podInfo(v.Pod)
	}
	return resp, err
}

// ListPodSandbox lists the pods that match a filter.
func (s *runtimeService) ListPodSandbox(_ context.Context, req *cri.ListPodSandboxRequest) (*cri.ListPodSandboxResponse, error) {
	match, err := podFilter(req.GetFilter())
	if err != nil {
		return nil, err
	}
	resp := &cri.ListPodSandboxResponse{}
	return resp, s.podItems.response(resp, s.pods.List(), match, func(p *sandbox.Pod) proto.Message { return podItem(p) })
}

func (s *runtimeService) listPods(f *cri.PodSandboxFilter) ([]*cri.PodSandbox, error) {
	match, err := podFilter(f)
	if err != nil {
		return nil, err
	}
	var items []*cri.PodSandbox
	for _, p := range s.pods.List() {
		if match(p) {
			items = append(items, podItem(p))
		}
	}
	return items, nil
}

func podState(p *sandbox.Pod) cri.PodSandboxState {
	if p.Ready {
		return cri.PodSandboxState_SANDBOX_READY
	}
	return cri.PodSandboxState_SANDBOX_NOTREADY
}

func podItem(p *sandbox.Pod) *cri.PodSandbox {
	return &cri.PodSandbox{
		Id:             p.ID,
		Metadata:       p.Config.GetMetadata(),
		State:          podState(p),
		CreatedAt:      nanos(p.CreatedAt),
		Labels:         p.Config.GetLabels(),
		Annotations:    p.Config.GetAnnotations(),
		RuntimeHandler: p.Handler,
	}
}

func podStatus(p *sandbox.Pod) *cri.PodSandboxStatus {
	// Absent options mean the zero ones (POD, POD, POD); the kubelet compares
	// the network mode with the pod's.
	ns := p.Config.GetLinux().GetSecurityContext().GetNamespaceOptions()
	if ns == nil {
		ns = &cri.NamespaceOption{}
	}
	return &cri.PodSandboxStatus{
		Id:             p.ID,
		Metadata:       p.Config.GetMetadata(),
		State:          podState(p),
		CreatedAt:      nanos(p.CreatedAt),
		Network:        podNetwork(p),
		Linux:          &cri.LinuxPodSandboxStatus{Namespaces: &cri.Namespace{Options: ns}},
		Labels:         p.Config.GetLabels(),
		Annotations:    p.Config.GetAnnotations(),
		RuntimeHandler: p.Handler,
	}
}

// podNetwork is nil when the pod has no address of its own: a network with an
// empty one makes the kubelet build the pod anew.
func podNetwork(p *sandbox.Pod) *cri.PodSandboxNetworkStatus {
	if len(p.IPs) == 0 {
		return nil
	}
	n := &cri.PodSandboxNetworkStatus{Ip: p.IPs[0].String()}
	for _, ip := range p.IPs[1:] {
		n.AdditionalIps = append(n.AdditionalIps, &cri.PodIP{Ip: ip.String()})
	}
	return n
}
