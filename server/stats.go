package server

import (
	"context"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
)

// ContainerStats tells what one container uses.
func (s *runtimeService) ContainerStats(ctx context.Context, req *cri.ContainerStatsRequest) (*cri.ContainerStatsResponse, error) {
	c, err := s.pods.Container(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	st, err := s.pods.Stats(ctx, c.ID)
	if err != nil {
		return nil, err
	}
	return &cri.ContainerStatsResponse{Stats: containerStats(st)}, nil
}

// ListContainerStats tells what the containers that match a filter use.
func (s *runtimeService) ListContainerStats(ctx context.Context, req *cri.ListContainerStatsRequest) (*cri.ListContainerStatsResponse, error) {
	return &cri.ListContainerStatsResponse{Stats: s.listStats(ctx, req.GetFilter())}, nil
}

// StreamContainerStats is ListContainerStats in parts.
func (s *runtimeService) StreamContainerStats(req *cri.StreamContainerStatsRequest, out grpc.ServerStreamingServer[cri.StreamContainerStatsResponse]) error {
	return inParts(s.listStats(out.Context(), req.GetFilter()), func(part []*cri.ContainerStats) error {
		return out.Send(&cri.StreamContainerStatsResponse{ContainerStats: part})
	})
}

// listStats leaves out what has ended, and whatever ends or breaks while it is
// looked at: one container must not hide all others.
func (s *runtimeService) listStats(ctx context.Context, f *cri.ContainerStatsFilter) []*cri.ContainerStats {
	var all []*cri.ContainerStats
	for _, c := range s.pods.Containers() {
		if c.State == sandbox.Exited || !statsMatches(f, c) {
			continue
		}
		st, err := s.pods.Stats(ctx, c.ID)
		if err != nil {
			s.o.Log.DebugContext(ctx, "container left out of statistics", "container", c.ID, "error", err)
			continue
		}
		all = append(all, containerStats(st))
	}
	return all
}

func containerStats(st *sandbox.Stats) *cri.ContainerStats {
	config := st.Container.Config
	return &cri.ContainerStats{
		Attributes: &cri.ContainerAttributes{
			Id:          st.Container.ID,
			Metadata:    config.GetMetadata(),
			Labels:      config.GetLabels(),
			Annotations: config.GetAnnotations(),
		},
		Cpu:    cpuUsage(st),
		Memory: memoryUsage(st),
		Swap:   swapUsage(st),
		WritableLayer: &cri.FilesystemUsage{
			Timestamp:  nanos(st.At),
			FsId:       &cri.FilesystemIdentifier{Mountpoint: st.Writable.Mountpoint},
			UsedBytes:  value(st.Writable.Bytes),
			InodesUsed: value(st.Writable.Inodes),
		},
	}
}

// cpuUsage leaves the rate out while there is none: the kubelet then computes
// one from the counter.
func cpuUsage(st *sandbox.Stats) *cri.CpuUsage {
	if !st.Cgroup.CPU.Known {
		return nil
	}
	u := &cri.CpuUsage{
		Timestamp:            nanos(st.At),
		UsageCoreNanoSeconds: value(uint64(st.Cgroup.CPU.Usage)),
	}
	if st.NanoCores != 0 {
		u.UsageNanoCores = value(st.NanoCores)
	}
	return u
}

func memoryUsage(st *sandbox.Stats) *cri.MemoryUsage {
	m := st.Cgroup.Memory
	if !m.Known {
		return nil
	}
	u := &cri.MemoryUsage{
		Timestamp:       nanos(st.At),
		WorkingSetBytes: value(m.WorkingSet),
		UsageBytes:      value(m.Usage),
		RssBytes:        value(m.RSS),
		PageFaults:      value(m.Faults),
		MajorPageFaults: value(m.MajorFaults),
	}
	if m.Limit != 0 {
		u.AvailableBytes = value(m.Available)
	}
	return u
}

func swapUsage(st *sandbox.Stats) *cri.SwapUsage {
	w := st.Cgroup.Swap
	if !w.Known {
		return nil
	}
	u := &cri.SwapUsage{Timestamp: nanos(st.At), SwapUsageBytes: value(w.Usage)}
	if w.Limited {
		u.SwapAvailableBytes = value(w.Available)
	}
	return u
}

func value(n uint64) *cri.UInt64Value { return &cri.UInt64Value{Value: n} }
