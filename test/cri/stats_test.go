package cri

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/machine"
	"slipway/test/node"
)

// knock sends packets to a pod: what answers is its kernel, with a refusal.
func knock(n *node.Node, pod string) {
	n.T.Helper()
	c, err := net.DialTimeout("tcp", n.PodIP(pod)+":81", 5*time.Second)
	if err == nil {
		c.Close()
	}
}

// What a container burns, writes and sends is seen in its statistics and in its
// pod's, which has a cgroup of its own.
func TestStatsGrow(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("busy")
	podCfg.Linux.CgroupParent = lab.Machine.Cgroup + "/busy-pod"
	pod := n.RunPod(podCfg)
	cfg := node.Container("burn", "dd if=/dev/zero of=/big bs=1M count=8 && echo written; while :; do :; done")
	cfg.Linux.Resources = &cri.LinuxContainerResources{MemoryLimitInBytes: 128 << 20, CpuPeriod: 100000, CpuQuota: 20000, CpuShares: 512}
	id := n.Run(pod, podCfg, cfg)
	n.WaitLog(id, "written")

	first, err := n.Runtime.PodSandboxStats(t.Context(), pod)
	must(t, err)
	knock(n, pod)
	var c *cri.ContainerStats
	var p *cri.PodSandboxStats
	node.Until(t, "the counters grow", func() bool {
		c, err = n.Runtime.ContainerStats(t.Context(), id)
		must(t, err)
		p, err = n.Runtime.PodSandboxStats(t.Context(), pod)
		must(t, err)
		net0, net1 := first.Linux.Network.DefaultInterface, p.Linux.Network.DefaultInterface
		return c.Cpu.UsageNanoCores.GetValue() > 0 && p.Linux.Cpu.UsageNanoCores.GetValue() > 0 &&
			p.Linux.Cpu.UsageCoreNanoSeconds.Value > first.Linux.Cpu.UsageCoreNanoSeconds.Value &&
			c.WritableLayer.UsedBytes.GetValue() >= 8<<20 &&
			net1.RxBytes.Value > net0.RxBytes.Value && net1.TxBytes.Value > net0.TxBytes.Value
	})
	m := c.Memory
	if m.WorkingSetBytes.Value == 0 || m.AvailableBytes.Value == 0 || m.AvailableBytes.Value > 128<<20 || m.PageFaults.Value == 0 || m.UsageBytes.Value < m.WorkingSetBytes.Value {
		t.Errorf("memory %v", m)
	}
	if c.WritableLayer.InodesUsed.Value < 2 || c.WritableLayer.Timestamp == 0 || c.Cpu.Timestamp == 0 || m.Timestamp == 0 {
		t.Errorf("stats %v", c)
	}
	l := p.Linux
	if l.Network.DefaultInterface.Name != "eth0" || l.Network.Timestamp == 0 || len(l.Network.Interfaces) != 0 {
		t.Errorf("network %v", l.Network)
	}
	if l.Process.ProcessCount.GetValue() < 1 || len(l.Containers) != 1 || l.Containers[0].Attributes.Id != id {
		t.Errorf("processes %v, containers %v", l.Process, l.Containers)
	}
	if p.Attributes.Id != pod || p.Attributes.Metadata.Name != "busy" {
		t.Errorf("attributes %v", p.Attributes)
	}
	checkPressure(t, c, p)
	checkMetrics(n, pod, id)
	if held(n, id, "/net/dev") == 0 {
		t.Error("the daemon holds no file open to measure with")
	}
	n.RemovePod(pod)
	if k := held(n, id, "/net/dev", "/busy-pod/"); k != 0 {
		t.Errorf("the daemon holds %d files of what is gone", k)
	}
	for _, dir := range machine.Hierarchies(podCfg.Linux.CgroupParent) {
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
}

// held counts the daemon's open files whose path contains one of some texts.
func held(n *node.Node, texts ...string) (count int) {
	n.T.Helper()
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", n.Daemon.Pid()))
	must(n.T, err)
	for _, fd := range all {
		to, _ := os.Readlink(fd)
		if slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(to, text) }) {
			count++
		}
	}
	return count
}

// checkPressure: PSI is there where this kernel has it for cgroups, and absent
// elsewhere.
func checkPressure(t *testing.T, c *cri.ContainerStats, p *cri.PodSandboxStats) {
	t.Helper()
	found, err := filepath.Glob("/sys/fs/cgroup/*/cpu.pressure")
	must(t, err)
	text, err := os.ReadFile("/proc/pressure/cpu")
	has := len(found) > 0 && err == nil && len(text) > 0
	for _, got := range []bool{c.Cpu.Psi != nil, c.Memory.Psi != nil, c.Io != nil, p.Linux.Cpu.Psi != nil, p.Linux.Io != nil} {
		if got != has {
			t.Errorf("pressure: kernel %v; container %v, %v, %v; pod %v, %v", has, c.Cpu.Psi, c.Memory.Psi, c.Io, p.Linux.Cpu.Psi, p.Linux.Io)
			return
		}
	}
}

// checkMetrics looks for the metrics that no kernel lacks.
func checkMetrics(n *node.Node, pod, id string) {
	n.T.Helper()
	descriptors, err := n.Runtime.ListMetricDescriptors(n.T.Context())
	must(n.T, err)
	described := map[string]int{}
	for _, d := range descriptors {
		described[d.Name] = len(d.LabelKeys)
	}
	all, err := n.Runtime.ListPodSandboxMetrics(n.T.Context())
	must(n.T, err)
	if len(all) != 1 || all[0].PodSandboxId != pod || len(all[0].ContainerMetrics) != 1 || all[0].ContainerMetrics[0].ContainerId != id {
		n.T.Fatalf("metrics %v", all)
	}
	values := map[string]uint64{}
	for who, list := range map[string][]*cri.Metric{"pod ": all[0].Metrics, "": all[0].ContainerMetrics[0].Metrics} {
		for _, m := range list {
			if described[m.Name] != len(m.LabelValues) || m.Timestamp == 0 {
				n.T.Errorf("%v: %d labels are described", m, described[m.Name])
			}
			values[who+m.Name] += m.Value.Value
		}
	}
	for name, least := range map[string]uint64{
		"container_memory_usage_bytes": 1, "container_processes": 1, "container_threads": 1, "container_file_descriptors": 1,
		"container_spec_cpu_quota": 20000, "container_spec_cpu_shares": 512, "container_spec_memory_limit_bytes": 128 << 20,
		"container_fs_usage_bytes": 8 << 20, "container_fs_limit_bytes": 8 << 20, "container_start_time_seconds": 1_600_000_000,
		"container_ulimits_soft": 1, "container_tasks_state": 1, "container_cpu_cfs_periods_total": 1, "container_memory_failures_total": 1,
		"pod container_network_receive_packets_total": 1, "pod container_network_transmit_bytes_total": 1, "pod container_memory_usage_bytes": 1,
	} {
		if values[name] < least {
			n.T.Errorf("%s is %d, want %d or more", name, values[name], least)
		}
	}
}

// Twenty pods are listed, whole or in parts; a filter chooses; what has ended and
// what is gone is treated as it should be; a new daemon goes on.
func TestStatsOfMany(t *testing.T) {
	n := newNode(t)
	const count = 20
	var pods, ids []string
	for i := range count {
		podCfg := n.PodConfig(fmt.Sprintf("many%d", i))
		podCfg.Labels = map[string]string{"half": fmt.Sprint(i % 2)}
		pod := n.RunPod(podCfg)
		cfg := node.Container("c", "sleep 1000")
		cfg.Labels = podCfg.Labels
		pods, ids = append(pods, pod), append(ids, n.Run(pod, podCfg, cfg))
	}
	half := map[string]string{"half": "1"}
	wantLists(n, count, count, nil, nil)
	checkCost(n, count)
	wantLists(n, count/2, count/2, &cri.PodSandboxStatsFilter{LabelSelector: half}, &cri.ContainerStatsFilter{LabelSelector: half})
	wantLists(n, 1, 1, &cri.PodSandboxStatsFilter{Id: pods[3]}, &cri.ContainerStatsFilter{Id: ids[3]})
	wantLists(n, 0, 0, &cri.PodSandboxStatsFilter{Id: pods[3], LabelSelector: map[string]string{"half": "0"}}, &cri.ContainerStatsFilter{Id: ids[3], PodSandboxId: pods[4]})

	must(t, n.Runtime.StopContainer(t.Context(), ids[0], 0))
	wantLists(n, count, count-1, nil, nil)
	st, err := n.Runtime.ContainerStats(t.Context(), ids[0])
	if err != nil || st.Cpu != nil || st.Memory != nil || st.WritableLayer == nil {
		t.Errorf("stats of a stopped container: %v, %v", st, err)
	}
	must(t, n.Runtime.RemoveContainer(t.Context(), ids[0]))
	if _, err := n.Runtime.ContainerStats(t.Context(), ids[0]); status.Code(err) != codes.NotFound {
		t.Errorf("stats of a removed container: %v", err)
	}
	must(t, n.Runtime.StopPodSandbox(t.Context(), pods[1]))
	if p, err := n.Runtime.PodSandboxStats(t.Context(), pods[1]); err != nil || p.Linux.Network != nil || p.Linux.Cpu != nil {
		t.Errorf("stats of a stopped pod: %v, %v", p, err)
	}
	if _, err := n.Runtime.PodSandboxStats(t.Context(), "none"); status.Code(err) != codes.NotFound {
		t.Errorf("stats of no pod: %v", err)
	}
	_ = n.Daemon.Kill()
	n.Start()
	wantLists(n, count-1, count-2, nil, nil)
}

// checkCost counts the daemon's reads: nine files of a cgroup for a container,
// two of its network and two of its processes more for a pod, and no walk.
func checkCost(n *node.Node, count int) {
	n.T.Helper()
	before, ok := reads(n)
	if !ok {
		n.T.Log("this kernel counts no reads")
		return
	}
	const rounds, ofContainer, ofPod = 5, 9, 13
	for range rounds {
		_, err := n.Runtime.ListContainerStats(n.T.Context(), nil)
		must(n.T, err)
	}
	middle, _ := reads(n)
	for range rounds {
		_, err := n.Runtime.ListPodSandboxStats(n.T.Context(), nil)
		must(n.T, err)
	}
	after, _ := reads(n)
	containers, pods := float64(middle-before)/float64(rounds*count), float64(after-middle)/float64(rounds*count)
	n.T.Logf("%.1f reads for a container, %.1f for a pod", containers, pods)
	if containers > ofContainer+2 || pods > ofPod+3 { // with those of the connection, and the size of lists
		n.T.Errorf("%.1f reads for a container, want %d; %.1f for a pod, want %d", containers, ofContainer, pods, ofPod)
	}
}

// reads counts the daemon's system calls that read.
func reads(n *node.Node) (count int, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", n.Daemon.Pid()))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "syscr: %d", &count); err == nil {
			return count, true
		}
	}
	return 0, false
}

// wantLists checks the number of pods and containers in lists, unary and
// streamed, and that each is measured.
func wantLists(n *node.Node, pods, containers int, pf *cri.PodSandboxStatsFilter, cf *cri.ContainerStatsFilter) {
	n.T.Helper()
	byPod, err := n.Runtime.ListPodSandboxStats(n.T.Context(), pf)
	must(n.T, err)
	byContainer, err := n.Runtime.ListContainerStats(n.T.Context(), cf)
	must(n.T, err)
	if len(byPod) != pods || len(byContainer) != containers {
		n.T.Errorf("%d pods and %d containers, want %d and %d", len(byPod), len(byContainer), pods, containers)
	}
	for _, c := range byContainer {
		if c.Cpu.GetUsageCoreNanoSeconds().GetValue() == 0 || c.Memory.GetUsageBytes().GetValue() == 0 {
			n.T.Errorf("container %v", c)
		}
	}
	for _, p := range byPod {
		if p.Linux.Network.GetDefaultInterface().GetName() != "eth0" || p.Linux.Process == nil {
			n.T.Errorf("pod %v", p)
		}
	}
	streamedPods, streamedContainers := streamed(n, pf, cf)
	if streamedPods != pods || streamedContainers != containers {
		n.T.Errorf("streamed: %d pods and %d containers", streamedPods, streamedContainers)
	}
}

func streamed(n *node.Node, pf *cri.PodSandboxStatsFilter, cf *cri.ContainerStatsFilter) (pods, containers int) {
	n.T.Helper()
	conn, err := grpc.NewClient("unix://"+n.Setup.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(n.T, err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(n.T.Context(), time.Minute)
	defer cancel()
	client := cri.NewRuntimeServiceClient(conn)
	ps, err := client.StreamPodSandboxStats(ctx, &cri.StreamPodSandboxStatsRequest{Filter: pf}, grpc.WaitForReady(true))
	must(n.T, err)
	for {
		r, err := ps.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		must(n.T, err)
		pods += len(r.PodSandboxStats)
	}
	cs, err := client.StreamContainerStats(ctx, &cri.StreamContainerStatsRequest{Filter: cf})
	must(n.T, err)
	for {
		r, err := cs.Recv()
		if errors.Is(err, io.EOF) {
			return pods, containers
		}
		must(n.T, err)
		containers += len(r.ContainerStats)
	}
}

// A pod on the host's network has no counters of its own.
func TestStatsOfHostNetwork(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("host")
	podCfg.Hostname = ""
	podCfg.Linux.SecurityContext.NamespaceOptions.Network = cri.NamespaceMode_NODE
	pod := n.RunPod(podCfg)
	p, err := n.Runtime.PodSandboxStats(t.Context(), pod)
	if err != nil || p.Linux.Network != nil {
		t.Errorf("stats %v, %v", p, err)
	}
	all, err := n.Runtime.ListPodSandboxMetrics(t.Context())
	must(t, err)
	for _, m := range all[0].Metrics {
		if strings.HasPrefix(m.Name, "container_network_") {
			t.Errorf("metric %v", m)
		}
	}
}

// A volume that hangs under a running container holds up no statistics: not
// those of the container that waits for it, and nobody else's.
func TestStatsWithHungVolume(t *testing.T) {
	n := newNode(t)
	dir := filepath.Join(n.Setup.Dir, "volume")
	must(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o755))
	must(t, syscall.Mount(dir, dir, "", syscall.MS_BIND, ""))
	t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	must(t, syscall.Mount("", dir, "", syscall.MS_SHARED, ""))
	podCfg := n.PodConfig("waiting")
	pod := n.RunPod(podCfg)
	cfg := node.Container("c", "while [ ! -e /mnt/go ]; do sleep 0.05; done; echo in; ls /mnt/sub; echo out; sleep 1000")
	cfg.Mounts = []*cri.Mount{{HostPath: dir, ContainerPath: "/mnt", Propagation: cri.MountPropagation_PROPAGATION_HOST_TO_CONTAINER}}
	id := n.Run(pod, podCfg, cfg)
	release := hangAt(t, filepath.Join(dir, "sub"))
	must(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o644))
	n.WaitLog(id, "in")

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for range 3 {
		if _, err := n.Runtime.ContainerStats(ctx, id); err != nil {
			t.Error(err)
		}
		if all, err := n.Runtime.ListContainerStats(ctx, nil); err != nil || len(all) != 1 {
			t.Errorf("%v, %v", all, err)
		}
		if all, err := n.Runtime.ListPodSandboxStats(ctx, nil); err != nil || len(all) != 1 || all[0].Linux.Process.ProcessCount.Value < 2 {
			t.Errorf("%v, %v", all, err)
		}
		if all, err := n.Runtime.ListPodSandboxMetrics(ctx); err != nil || len(all) != 1 || len(all[0].ContainerMetrics) != 1 {
			t.Errorf("%v, %v", all, err)
		}
	}
	if strings.Contains(n.Log(n.Status(id)), "out") {
		t.Error("the volume did not hang")
	}
	release()
	n.RemovePod(pod)
}

// hangAt mounts a file system that answers nothing until release is called.
func hangAt(t *testing.T, dir string) (release func()) {
	t.Helper()
	fd, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no FUSE here: %v", err)
	}
	if err := syscall.Mount("hung", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		_ = syscall.Close(fd)
		t.Skipf("no FUSE here: %v", err)
	}
	released := false
	release = func() {
		if !released {
			released = true
			_ = syscall.Close(fd) // whoever waits gets ENOTCONN
			must(t, syscall.Unmount(dir, syscall.MNT_DETACH))
		}
	}
	t.Cleanup(release)
	return release
}
