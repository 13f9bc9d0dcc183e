package server

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
)

func sampleStats(c *sandbox.Container) *sandbox.Stats {
	st := &sandbox.Stats{Container: c, At: at, NanoCores: 250_000_000}
	st.Cgroup.CPU.Known, st.Cgroup.CPU.Usage = true, 3*time.Second
	m := &st.Cgroup.Memory
	m.Known, m.Usage, m.WorkingSet, m.RSS, m.Limit, m.Available, m.Faults, m.MajorFaults = true, 9, 8, 7, 64, 56, 5, 4
	st.Cgroup.Swap.Known, st.Cgroup.Swap.Usage, st.Cgroup.Swap.Limited, st.Cgroup.Swap.Available = true, 3, true, 2
	st.Writable.Mountpoint, st.Writable.Bytes, st.Writable.Inodes = "/var/lib/slipway/images", 4096, 6
	return st
}

func TestContainerStats(t *testing.T) {
	c := sampleContainer(ctrA, podA, sandbox.Running)
	pods := &fakePods{containers: []*sandbox.Container{c}, stats: map[string]*sandbox.Stats{ctrA: sampleStats(c)}}
	s := serve(t, pods, &fakeImages{})
	got, err := s.runtime.ContainerStats(s.ctx, ctrA[:6])
	if err != nil {
		t.Fatal(err)
	}
	const stamp = 1700000000123456789
	want := &cri.ContainerStats{
		Attributes: &cri.ContainerAttributes{
			Id: ctrA, Metadata: c.Config.Metadata, Labels: c.Config.Labels, Annotations: c.Config.Annotations,
		},
		Cpu: &cri.CpuUsage{Timestamp: stamp, UsageCoreNanoSeconds: value(3_000_000_000), UsageNanoCores: value(250_000_000)},
		Memory: &cri.MemoryUsage{
			Timestamp: stamp, WorkingSetBytes: value(8), AvailableBytes: value(56), UsageBytes: value(9),
			RssBytes: value(7), PageFaults: value(5), MajorPageFaults: value(4),
		},
		Swap: &cri.SwapUsage{Timestamp: stamp, SwapAvailableBytes: value(2), SwapUsageBytes: value(3)},
		WritableLayer: &cri.FilesystemUsage{
			Timestamp: stamp, FsId: &cri.FilesystemIdentifier{Mountpoint: "/var/lib/slipway/images"},
			UsedBytes: value(4096), InodesUsed: value(6),
		},
	}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

// What is not known is absent, not zero.
func TestContainerStatsUnknown(t *testing.T) {
	st := &sandbox.Stats{Container: sampleContainer(ctrA, podA, sandbox.Created), At: at}
	got := containerStats(st)
	if got.GetCpu() != nil || got.GetMemory() != nil || got.GetSwap() != nil {
		t.Errorf("unknown parts are %v, %v, %v", got.GetCpu(), got.GetMemory(), got.GetSwap())
	}
	st.Cgroup.CPU.Known, st.Cgroup.Memory.Known = true, true
	got = containerStats(st)
	if got.GetCpu().GetUsageNanoCores() != nil {
		t.Error("a rate is given after one sample")
	}
	if got.GetMemory().GetAvailableBytes() != nil {
		t.Error("available memory is given without a limit")
	}
}

// One that cannot be read does not hide the others; what has ended is left out.
func TestListContainerStats(t *testing.T) {
	for _, streaming := range []bool{false, true} {
		broken := sampleContainer(ctrA, podA, sandbox.Running)
		fine := sampleContainer(ctrB, podB, sandbox.Running)
		ended := sampleContainer("ee", podB, sandbox.Exited)
		pods := &fakePods{
			containers: []*sandbox.Container{broken, fine, ended},
			stats:      map[string]*sandbox.Stats{ctrB: sampleStats(fine), "ee": sampleStats(ended)},
		}
		s := serveStreaming(t, pods, &fakeImages{}, streaming)
		for _, f := range []*cri.ContainerStatsFilter{nil, {Id: ctrB}, {PodSandboxId: "b2"}, {LabelSelector: map[string]string{"app": "web"}}} {
			got, err := s.runtime.ListContainerStats(s.ctx, f)
			if err != nil || len(got) != 1 || got[0].GetAttributes().GetId() != ctrB {
				t.Errorf("filter %v, streaming=%v: %v, %v", f, streaming, got, err)
			}
		}
		got, err := s.runtime.ListContainerStats(s.ctx, &cri.ContainerStatsFilter{PodSandboxId: podA})
		if err != nil || len(got) != 0 {
			t.Errorf("other pod, streaming=%v: %v, %v", streaming, got, err)
		}
	}
}
