package server

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
)

// sampleCgroup is a reading with every part known.
func sampleCgroup() (g sandbox.CgroupStats) {
	g.Time = at
	pressure := sandbox.Pressure{Known: true, Some: sandbox.PressureLine{Avg10: 1.5, Total: 3 * time.Microsecond}, Full: sandbox.PressureLine{Avg300: 0.5}}
	g.CPU.Known, g.CPU.Usage, g.CPU.Pressure = true, 3*time.Second, pressure
	m := &g.Memory
	m.Known, m.Usage, m.WorkingSet, m.RSS, m.Limit, m.Available, m.Faults, m.MajorFaults = true, 9, 8, 7, 64, 56, 5, 4
	m.Pressure, g.IO = pressure, pressure
	g.Swap.Known, g.Swap.Usage, g.Swap.Limited, g.Swap.Available = true, 3, true, 2
	return g
}

func sampleStats(c *sandbox.Container) *sandbox.Stats {
	return &sandbox.Stats{
		Container: c, At: at, NanoCores: sandbox.Number{N: 250_000_000, Known: true}, Cgroup: sampleCgroup(),
		Writable: sandbox.Writable{Mountpoint: "/var/lib/slipway/images", At: at.Add(-time.Second), Bytes: 4096, Inodes: 6},
	}
}

const stamp = 1700000000123456789

var wantPsi = &cri.PsiStats{Some: &cri.PsiData{Avg10: 1.5, Total: 3000}, Full: &cri.PsiData{Avg300: 0.5}}

func TestContainerStats(t *testing.T) {
	c := sampleContainer(ctrA, podA, sandbox.Running)
	pods := &fakePods{containers: []*sandbox.Container{c}, stats: map[string]*sandbox.Stats{ctrA: sampleStats(c)}}
	s := serve(t, pods, &fakeImages{})
	got, err := s.runtime.ContainerStats(s.ctx, ctrA[:6])
	if err != nil {
		t.Fatal(err)
	}
	want := &cri.ContainerStats{
		Attributes: &cri.ContainerAttributes{
			Id: ctrA, Metadata: c.Config.Metadata, Labels: c.Config.Labels, Annotations: c.Config.Annotations,
		},
		Cpu: &cri.CpuUsage{Timestamp: stamp, UsageCoreNanoSeconds: value(3_000_000_000), UsageNanoCores: value(250_000_000), Psi: wantPsi},
		Memory: &cri.MemoryUsage{
			Timestamp: stamp, WorkingSetBytes: value(8), AvailableBytes: value(56), UsageBytes: value(9),
			RssBytes: value(7), PageFaults: value(5), MajorPageFaults: value(4), Psi: wantPsi,
		},
		Swap: &cri.SwapUsage{Timestamp: stamp, SwapAvailableBytes: value(2), SwapUsageBytes: value(3)},
		Io:   &cri.IoUsage{Timestamp: stamp, Psi: wantPsi},
		WritableLayer: &cri.FilesystemUsage{
			Timestamp: stamp - 1e9, FsId: &cri.FilesystemIdentifier{Mountpoint: "/var/lib/slipway/images"},
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
	if got.Cpu != nil || got.Memory != nil || got.Swap != nil || got.Io != nil {
		t.Errorf("unknown parts are %v", got)
	}
	if w := got.WritableLayer; w.UsedBytes != nil || w.InodesUsed != nil || w.Timestamp != stamp {
		t.Errorf("a writable layer that was not counted: %v", w)
	}
	st.Cgroup.CPU.Known, st.Cgroup.Memory.Known = true, true
	got = containerStats(st)
	if got.Cpu.UsageNanoCores != nil || got.Cpu.Psi != nil || got.Memory.Psi != nil {
		t.Errorf("a rate after one sample, or pressure: %v, %v", got.Cpu, got.Memory)
	}
	if got.Memory.AvailableBytes != nil {
		t.Error("available memory is given without a limit")
	}
	st.NanoCores.Known = true // idle
	if n := containerStats(st).Cpu.UsageNanoCores; n == nil || n.Value != 0 {
		t.Errorf("the rate of an idle container is %v, want 0", n)
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

func samplePodStats(ready bool) *sandbox.PodStats {
	p := samplePod(podA, ready)
	st := &sandbox.PodStats{Pod: p, At: at, Containers: []*sandbox.Stats{sampleStats(sampleContainer(ctrA, podA, sandbox.Running))}}
	if ready {
		st.Cgroup, st.NanoCores = sampleCgroup(), sandbox.Number{N: 5, Known: true}
		st.Processes = sandbox.Number{N: 2, Known: true}
		st.Network = &sandbox.NetworkStats{At: at, Interfaces: []sandbox.Interface{
			{Name: "eth0", RxBytes: 1, RxErrors: 2, TxBytes: 3, TxErrors: 4}, {Name: "net1", RxBytes: 5},
		}}
	}
	return st
}

func TestPodStats(t *testing.T) {
	st := samplePodStats(true)
	pods := &fakePods{pods: []*sandbox.Pod{st.Pod}, podStats: []*sandbox.PodStats{st}}
	s := serve(t, pods, &fakeImages{})
	got, err := s.runtime.PodSandboxStats(s.ctx, podA[:6])
	if err != nil {
		t.Fatal(err)
	}
	want := &cri.PodSandboxStats{
		Attributes: &cri.PodSandboxAttributes{
			Id: podA, Metadata: st.Pod.Config.Metadata, Labels: st.Pod.Config.Labels, Annotations: st.Pod.Config.Annotations,
		},
		Linux: &cri.LinuxPodSandboxStats{
			Cpu: &cri.CpuUsage{Timestamp: stamp, UsageCoreNanoSeconds: value(3_000_000_000), UsageNanoCores: value(5), Psi: wantPsi},
			Memory: &cri.MemoryUsage{
				Timestamp: stamp, WorkingSetBytes: value(8), AvailableBytes: value(56), UsageBytes: value(9),
				RssBytes: value(7), PageFaults: value(5), MajorPageFaults: value(4), Psi: wantPsi,
			},
			Io:      &cri.IoUsage{Timestamp: stamp, Psi: wantPsi},
			Process: &cri.ProcessUsage{Timestamp: stamp, ProcessCount: value(2)},
			Network: &cri.NetworkUsage{
				Timestamp:        stamp,
				DefaultInterface: &cri.NetworkInterfaceUsage{Name: "eth0", RxBytes: value(1), RxErrors: value(2), TxBytes: value(3), TxErrors: value(4)},
				Interfaces:       []*cri.NetworkInterfaceUsage{{Name: "net1", RxBytes: value(5), RxErrors: value(0), TxBytes: value(0), TxErrors: value(0)}},
			},
			Containers: []*cri.ContainerStats{containerStats(st.Containers[0])},
		},
	}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Error(d)
	}
	if _, err := s.runtime.PodSandboxStats(s.ctx, "ff"); status.Code(err) != codes.NotFound {
		t.Errorf("unknown pod: %v, want NotFound", err)
	}
}

// Of a pod that is stopped only its attributes and containers are known.
func TestPodStatsNotReady(t *testing.T) {
	got := podStats(samplePodStats(false))
	if l := got.Linux; l.Cpu != nil || l.Memory != nil || l.Network != nil || l.Process != nil || l.Io != nil || len(l.Containers) != 1 {
		t.Errorf("stats %v", l)
	}
}

func TestListPodStats(t *testing.T) {
	for _, streaming := range []bool{false, true} {
		pods := &fakePods{podStats: []*sandbox.PodStats{samplePodStats(true)}}
		s := serveStreaming(t, pods, &fakeImages{}, streaming)
		for want, filters := range map[int][]*cri.PodSandboxStatsFilter{
			1: {nil, {}, {Id: podA}, {Id: podA[:4]}, {LabelSelector: pods.podStats[0].Pod.Config.Labels}},
			0: {{Id: podB}, {LabelSelector: map[string]string{"app": "nothing"}}, {Id: podA, LabelSelector: map[string]string{"x": ""}}},
		} {
			for _, f := range filters {
				got, err := s.runtime.ListPodSandboxStats(s.ctx, f)
				if err != nil || len(got) != want {
					t.Errorf("filter %v, streaming=%v: %v, %v; want %d", f, streaming, got, err, want)
				}
			}
		}
	}
}
