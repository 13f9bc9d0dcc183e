package server

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
)

// PodSandboxStats tells what one pod sandbox uses.
func (s *runtimeService) PodSandboxStats(ctx context.Context, req *cri.PodSandboxStatsRequest) (*cri.PodSandboxStatsResponse, error) {
	p, err := s.pods.Pod(req.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	st, err := s.pods.PodStats(ctx, p.ID)
	if err != nil {
		return nil, err
	}
	return &cri.PodSandboxStatsResponse{Stats: podStats(st)}, nil
}

// ListPodSandboxStats tells what the ready pod sandboxes that match a filter use.
func (s *runtimeService) ListPodSandboxStats(ctx context.Context, req *cri.ListPodSandboxStatsRequest) (*cri.ListPodSandboxStatsResponse, error) {
	return &cri.ListPodSandboxStatsResponse{Stats: s.listPodStats(ctx, req.GetFilter())}, nil
}

// StreamPodSandboxStats is ListPodSandboxStats in parts.
func (s *runtimeService) StreamPodSandboxStats(req *cri.StreamPodSandboxStatsRequest, out grpc.ServerStreamingServer[cri.StreamPodSandboxStatsResponse]) error {
	return inParts(s.listPodStats(out.Context(), req.GetFilter()), func(part []*cri.PodSandboxStats) error {
		return out.Send(&cri.StreamPodSandboxStatsResponse{PodSandboxStats: part})
	})
}

func (s *runtimeService) listPodStats(ctx context.Context, f *cri.PodSandboxStatsFilter) []*cri.PodSandboxStats {
	from := s.pods.ListPodStats(ctx, func(p *sandbox.Pod) bool {
		return strings.HasPrefix(p.ID, f.GetId()) && labelsMatch(f.GetLabelSelector(), p.Config.GetLabels())
	})
	all := make([]*cri.PodSandboxStats, 0, len(from))
	for _, st := range from {
		all = append(all, podStats(st))
	}
	return all
}

func podStats(st *sandbox.PodStats) *cri.PodSandboxStats {
	config := st.Pod.Config
	out := &cri.LinuxPodSandboxStats{
		Cpu:        cpuUsage(&st.Cgroup, st.NanoCores),
		Memory:     memoryUsage(&st.Cgroup),
		Io:         ioUsage(&st.Cgroup),
		Network:    networkUsage(st.Network),
		Containers: manyContainerStats(st.Containers),
	}
	if st.Processes.Known {
		out.Process = &cri.ProcessUsage{Timestamp: nanos(st.At), ProcessCount: value(st.Processes.N)}
	}
	return &cri.PodSandboxStats{
		Attributes: &cri.PodSandboxAttributes{
			Id:          st.Pod.ID,
			Metadata:    config.GetMetadata(),
			Labels:      config.GetLabels(),
			Annotations: config.GetAnnotations(),
		},
		Linux: out,
	}
}

// networkUsage: the first interface is the default one; the API wants it not
// among the others.
func networkUsage(n *sandbox.NetworkStats) *cri.NetworkUsage {
	if n == nil {
		return nil
	}
	u := &cri.NetworkUsage{Timestamp: nanos(n.At)}
	for k, i := range n.Interfaces {
		if k == 0 {
			u.DefaultInterface = interfaceUsage(i)
			continue
		}
		u.Interfaces = append(u.Interfaces, interfaceUsage(i))
	}
	return u
}

func interfaceUsage(i sandbox.Interface) *cri.NetworkInterfaceUsage {
	return &cri.NetworkInterfaceUsage{
		Name:    i.Name,
		RxBytes: value(i.RxBytes), RxErrors: value(i.RxErrors),
		TxBytes: value(i.TxBytes), TxErrors: value(i.TxErrors),
	}
}
