package cri

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/node"
)

// limitFile reads a control file of a container: v1's controller and file, or v2's file.
func limitFile(t *testing.T, id, controller, v1, v2 string) string {
	t.Helper()
	path := filepath.Join("/sys/fs/cgroup", controller, lab.Machine.Cgroup, id, v1)
	if onV2() {
		path = filepath.Join("/sys/fs/cgroup", lab.Machine.Cgroup, id, v2)
	}
	b, err := os.ReadFile(path)
	must(t, err)
	return strings.TrimSpace(string(b))
}

func onV2() bool {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err == nil
}

func memoryLimit(t *testing.T, id string) string {
	return limitFile(t, id, "memory", "memory.limit_in_bytes", "memory.max")
}

func update(t *testing.T, n *node.Node, id string, r *cri.LinuxContainerResources) error {
	t.Helper()
	return n.Runtime.UpdateContainerResources(t.Context(), id, &cri.ContainerResources{Linux: r})
}

// sameResources compares what the status says with what it should.
func sameResources(t *testing.T, n *node.Node, id string, want *cri.LinuxContainerResources) {
	t.Helper()
	if got := n.Status(id).GetResources().GetLinux(); !proto.Equal(got, want) {
		t.Errorf("status says %v, want %v", got, want)
	}
}

// recordOf finds a container's record directory.
func recordOf(t *testing.T, n *node.Node, id string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(n.Setup.Root, "pods", "*", id))
	if err != nil || len(found) != 1 {
		t.Fatalf("records of %s: %q, %v", id, found, err)
	}
	return found[0]
}

const mib = 1 << 20

// Updates are laid over what is in force, shown at once, and survive the daemon.
func TestUpdateResources(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("resize")
	pod := n.RunPod(podCfg)
	cfg := node.Container("c", "sleep 1000")
	cfg.Linux.Resources = &cri.LinuxContainerResources{
		CpuPeriod: 100000, CpuQuota: 50000, CpuShares: 512,
		MemoryLimitInBytes: 64 * mib, MemorySwapLimitInBytes: 96 * mib, OomScoreAdj: 500,
	}
	id, err := n.Runtime.CreateContainer(t.Context(), pod, cfg, podCfg)
	must(t, err)
	want := proto.Clone(cfg.Linux.Resources).(*cri.LinuxContainerResources)

	must(t, update(t, n, id, &cri.LinuxContainerResources{CpuQuota: 40000})) // before there is a process
	want.CpuQuota = 40000
	sameResources(t, n, id, want)
	must(t, n.Runtime.StartContainer(t.Context(), id))
	if got := limitFile(t, id, "cpu", "cpu.cfs_quota_us", "cpu.max"); !strings.HasPrefix(got, "40000") {
		t.Errorf("quota after the start: %s", got)
	}
	sameResources(t, n, id, want)

	// 32 MiB of swap stay when the limit of memory moves alone.
	must(t, update(t, n, id, &cri.LinuxContainerResources{MemoryLimitInBytes: 128 * mib}))
	want.MemoryLimitInBytes, want.MemorySwapLimitInBytes = 128*mib, 160*mib
	sameResources(t, n, id, want)
	must(t, update(t, n, id, &cri.LinuxContainerResources{CpusetCpus: "0", CpuShares: 1024, MemorySwapLimitInBytes: 192 * mib}))
	want.CpusetCpus, want.CpuShares, want.MemorySwapLimitInBytes = "0", 1024, 192*mib
	sameResources(t, n, id, want)
	must(t, update(t, n, id, &cri.LinuxContainerResources{CpuQuota: -1}))
	want.CpuQuota = -1
	sameResources(t, n, id, want)
	inForce := func() {
		t.Helper()
		if got := memoryLimit(t, id); got != fmt.Sprint(128*mib) {
			t.Errorf("memory limit %s", got)
		}
		if got := limitFile(t, id, "cpuset", "cpuset.cpus", "cpuset.cpus"); got != "0" {
			t.Errorf("cpuset %q", got)
		}
		if got := limitFile(t, id, "cpu", "cpu.cfs_quota_us", "cpu.max"); got != "-1" && !strings.HasPrefix(got, "max") {
			t.Errorf("quota %s", got)
		}
	}
	inForce()
	if got := n.Exec(id, "sh", "-c", "grep Cpus_allowed_list /proc/self/status"); !strings.HasSuffix(got, "\t0") {
		t.Errorf("processors inside: %q", got)
	}

	_ = n.Daemon.Kill()
	n.Start()
	sameResources(t, n, id, want)
	inForce()
	must(t, update(t, n, id, &cri.LinuxContainerResources{CpuShares: 256}))
	want.CpuShares = 256
	sameResources(t, n, id, want)

	must(t, n.Runtime.StopContainer(t.Context(), id, 0))
	if err := update(t, n, id, &cri.LinuxContainerResources{CpuShares: 2}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("update of what has ended: %v", err)
	}
	if err := update(t, n, "none", &cri.LinuxContainerResources{CpuShares: 2}); status.Code(err) != codes.NotFound {
		t.Errorf("update of what is not there: %v", err)
	}
	sameResources(t, n, id, want)
}

// An update that fails leaves all as it was: the cgroup, the status, the record.
func TestUpdateResourcesKeepsAllOnFailure(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("kept")
	pod := n.RunPod(podCfg)
	cfg := node.Container("c", "sleep 1000")
	cfg.Linux.Resources = &cri.LinuxContainerResources{CpuPeriod: 100000, CpuQuota: 50000, CpuShares: 512, MemoryLimitInBytes: 64 * mib}
	id := n.Run(pod, podCfg, cfg)
	must(t, update(t, n, id, &cri.LinuxContainerResources{CpuShares: 600}))
	want := n.Status(id).GetResources().GetLinux()
	dir := recordOf(t, n, id)
	record, err := os.ReadFile(filepath.Join(dir, "resources.json"))
	must(t, err)

	unchanged := func(what string) {
		t.Helper()
		sameResources(t, n, id, want)
		if got := memoryLimit(t, id); got != fmt.Sprint(64*mib) {
			t.Errorf("%s: memory limit %s", what, got)
		}
		if got := limitFile(t, id, "cpu", "cpu.cfs_quota_us", "cpu.max"); !strings.HasPrefix(got, "50000") {
			t.Errorf("%s: quota %s", what, got)
		}
	}
	refused := map[string]*cri.LinuxContainerResources{
		"memory below usage":    {MemoryLimitInBytes: 4096, CpuQuota: 30000},
		"swap below memory":     {MemorySwapLimitInBytes: mib, CpuQuota: 30000},
		"no such processor":     {CpusetCpus: "4000", CpuQuota: 30000, MemoryLimitInBytes: 80 * mib},
		"not a cpuset":          {CpusetCpus: "1-", CpuQuota: 30000},
		"quota below its least": {CpuQuota: 5, MemoryLimitInBytes: 80 * mib},
		"negative":              {CpuShares: -3, CpuQuota: 30000},
		"unknown file":          {Unified: map[string]string{"memory.none": "1"}, CpuQuota: 30000},
		"huge pages":            {HugepageLimits: []*cri.HugepageLimit{{PageSize: "7MB", Limit: 1}}, CpuQuota: 30000},
	}
	for what, r := range refused {
		if err := update(t, n, id, r); err == nil {
			t.Errorf("%s: no error", what)
		}
		unchanged(what)
		if now, err := os.ReadFile(filepath.Join(dir, "resources.json")); err != nil || string(now) != string(record) {
			t.Errorf("%s: the record changed: %v", what, err)
		}
	}
	if err := update(t, n, id, refused["unknown file"]); !onV2() && (status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "memory.none")) {
		t.Errorf("unified on v1: %v", err)
	}

	// A record that cannot be put in place: a directory has its name.
	must(t, os.Remove(filepath.Join(dir, "resources.json")))
	must(t, os.Mkdir(filepath.Join(dir, "resources.json"), 0o700))
	if err := update(t, n, id, &cri.LinuxContainerResources{CpuQuota: 30000, MemoryLimitInBytes: 80 * mib}); err == nil {
		t.Error("an update that cannot be recorded: no error")
	}
	unchanged("no record")
	must(t, os.Remove(filepath.Join(dir, "resources.json")))
	must(t, update(t, n, id, &cri.LinuxContainerResources{CpuQuota: 30000}))
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// What no start could apply is refused when it is asked for.
func TestUnifiedOnV1(t *testing.T) {
	if onV2() {
		t.Skip("cgroup v2")
	}
	n := newNode(t)
	podCfg := n.PodConfig("unified")
	pod := n.RunPod(podCfg)
	cfg := node.Container("c", "true")
	cfg.Linux.Resources = &cri.LinuxContainerResources{Unified: map[string]string{"memory.high": "1"}}
	if _, err := n.Runtime.CreateContainer(t.Context(), pod, cfg, podCfg); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "memory.high") {
		t.Errorf("create: %v", err)
	}
}

// The pod's own resources are noted, and shown after a restart too; its cgroup is
// the kubelet's.
func TestUpdatePodResources(t *testing.T) {
	n := newNode(t)
	cfg := n.PodConfig("sized")
	cfg.Linux.Resources = &cri.LinuxContainerResources{CpuShares: 100}
	pod := n.RunPod(cfg)
	say := func(id string, overhead, resources *cri.LinuxContainerResources) error {
		_, err := n.Runtime.UpdatePodSandboxResources(t.Context(), &cri.UpdatePodSandboxResourcesRequest{PodSandboxId: id, Overhead: overhead, Resources: resources})
		return err
	}
	shown := func(want ...string) {
		t.Helper()
		r, err := n.Runtime.PodSandboxStatus(t.Context(), pod, true)
		must(t, err)
		for _, w := range want {
			if !strings.Contains(r.Info["info"], w) {
				t.Errorf("no %s in %s", w, r.Info["info"])
			}
		}
	}
	shown(`"resources":{"cpu_shares":100}`)
	must(t, say(pod, nil, &cri.LinuxContainerResources{CpuShares: 200, MemoryLimitInBytes: 5}))
	must(t, say(pod, &cri.LinuxContainerResources{CpuShares: 7}, nil))
	shown(`"resources":{"cpu_shares":200,"memory_limit_in_bytes":5}`, `"overhead":{"cpu_shares":7}`)
	if err := say(pod, nil, &cri.LinuxContainerResources{CpuShares: -1}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("negative: %v", err)
	}
	_ = n.Daemon.Kill()
	n.Start()
	shown(`"resources":{"cpu_shares":200,"memory_limit_in_bytes":5}`, `"overhead":{"cpu_shares":7}`)
	if err := say("none", nil, &cri.LinuxContainerResources{}); status.Code(err) != codes.NotFound {
		t.Errorf("of what is not there: %v", err)
	}
	must(t, n.Runtime.StopPodSandbox(t.Context(), pod))
	if err := say(pod, nil, &cri.LinuxContainerResources{CpuShares: 3}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("of a stopped pod: %v", err)
	}
}

// A parent in the syntax of the other driver would be a group in the wrong place.
func TestSliceUnderCgroupfs(t *testing.T) {
	n := newNode(t)
	cfg := n.PodConfig("slice")
	for _, parent := range []string{"kubepods-pod1.slice", "/kubepods.slice/kubepods-pod1.slice"} {
		cfg.Linux.CgroupParent = parent
		_, err := n.Runtime.RunPodSandbox(t.Context(), cfg, "")
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "cgroup_driver") {
			t.Errorf("%s: %v", parent, err)
		}
	}
}
