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

// listStats leaves out what has ended.
func (s *runtimeService) listStats(ctx context.Context, f *cri.ContainerStatsFilter) []*cri.ContainerStats {
	return manyContainerStats(s.pods.ListStats(ctx, func(c *sandbox.Container) bool {
		return c.State != sandbox.Exited && statsMatches(f, c)
	}))
}

func manyContainerStats(from []*sandbox.Stats) []*cri.ContainerStats {
	all := make([]*cri.ContainerStats, 0, len(from))
	for _, st := range from {
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
		Cpu:           cpuUsage(&st.Cgroup, st.NanoCores),
		Memory:        memoryUsage(&st.Cgroup),
		Swap:          swapUsage(&st.Cgroup),
		Io:            ioUsage(&st.Cgroup),
		WritableLayer: writableUsage(st),
	}
}

// writableUsage has the time of the count; what is not counted yet is said to be
// unknown now.
func writableUsage(st *sandbox.Stats) *cri.FilesystemUsage {
	w := st.Writable
	u := &cri.FilesystemUsage{Timestamp: nanos(st.At), FsId: &cri.FilesystemIdentifier{Mountpoint: w.Mountpoint}}
	if !w.At.IsZero() {
		u.Timestamp, u.UsedBytes, u.InodesUsed = nanos(w.At), value(w.Bytes), value(w.Inodes)
	}
	return u
}

func value(n uint64) *cri.UInt64Value { return &cri.UInt64Value{Value: n} }
