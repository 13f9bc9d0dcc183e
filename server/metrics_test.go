package server

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/imagestore"
	"slipway/sandbox"
)

// sampleDetails is a pod with one container, measured as the fixtures of
// sandbox/cgroup are.
func sampleDetails(t *testing.T, fixture string) *sandbox.PodDetail {
	t.Helper()
	text, err := os.ReadFile(fixture)
	if err != nil {
		t.Fatal(err)
	}
	var d sandbox.CgroupDetail
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	d.Time = at
	pod := samplePod(podA, true)
	c := &sandbox.ContainerDetail{
		Container: sampleContainer(ctrA, podA, sandbox.Running), CgroupPath: "/kubepods/pod1/" + ctrA, Cgroup: d,
		Processes: sandbox.Number{N: 3, Known: true},
		Writable:  &imagestore.Usage{Bytes: 4096, Inodes: 2, At: at, Disk: imagestore.Disk{Major: 254, Bytes: 1 << 30, Inodes: 1000, InodesFree: 900}},
	}
	c.Tasks.StatesKnown, c.Tasks.Running, c.Tasks.Sleeping = true, 1, 5
	c.Tasks.FilesKnown, c.Tasks.Files, c.Tasks.Sockets = true, 12, 4
	c.Tasks.MaxFilesKnown, c.Tasks.MaxFiles = true, 1024
	return &sandbox.PodDetail{
		Pod: pod, CgroupPath: "/kubepods/pod1", Cgroup: &d,
		Network:    &sandbox.NetworkStats{At: at, Interfaces: []sandbox.Interface{{Name: "eth0", RxBytes: 1, TxBytes: 2, RxDropped: 3}}},
		Containers: []*sandbox.ContainerDetail{c},
		Devices:    map[[2]uint64]string{{254, 0}: "/dev/vda", {7, 1}: "/dev/loop1", {259, 0}: "/dev/nvme0n1"},
	}
}

func fixtures(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("../sandbox/cgroup/testdata/stats/*.json")
	if err != nil || len(all) < 3 {
		t.Fatalf("fixtures %q, %v", all, err)
	}
	return all
}

// Every metric has a descriptor with as many labels, every descriptor has a
// metric on some kernel, and no two metrics are the same series.
func TestEveryMetricIsDescribed(t *testing.T) {
	seen := map[string]bool{}
	var descriptors []*cri.MetricDescriptor
	for _, fixture := range fixtures(t) {
		pods := &fakePods{details: []*sandbox.PodDetail{sampleDetails(t, fixture)}}
		s := serve(t, pods, &fakeImages{})
		var err error
		if descriptors, err = s.runtime.ListMetricDescriptors(s.ctx); err != nil {
			t.Fatal(err)
		}
		described := map[string]*cri.MetricDescriptor{}
		for _, d := range descriptors {
			if described[d.Name] != nil || d.Help == "" || !strings.HasPrefix(d.Name, "container_") {
				t.Errorf("descriptor %v", d)
			}
			described[d.Name] = d
		}
		got, err := s.runtime.ListPodSandboxMetrics(s.ctx)
		if err != nil || len(got) != 1 || len(got[0].ContainerMetrics) != 1 || got[0].PodSandboxId != podA || got[0].ContainerMetrics[0].ContainerId != ctrA {
			t.Fatalf("%v, %v", got, err)
		}
		series := map[string]bool{}
		for _, m := range append(got[0].Metrics, got[0].ContainerMetrics[0].Metrics...) {
			d := described[m.Name]
			if d == nil {
				t.Errorf("%s has no descriptor", m.Name)
				continue
			}
			seen[m.Name] = true
			if len(m.LabelValues) != len(d.LabelKeys) {
				t.Errorf("%s has labels %q for keys %q", m.Name, m.LabelValues, d.LabelKeys)
			}
			if m.Timestamp != stamp || m.Value == nil {
				t.Errorf("%v has no time or value", m)
			}
			if isCounter := strings.HasSuffix(m.Name, "_total") && m.Name != "container_fs_inodes_total" || strings.HasSuffix(m.Name, "_failcnt"); isCounter != (m.MetricType == cri.MetricType_COUNTER) {
				t.Errorf("%s is a %s", m.Name, m.MetricType)
			}
			key := m.Name + "\x00" + strings.Join(m.LabelValues, "\x00")
			if series[key] {
				t.Errorf("%s: %s twice", filepath.Base(fixture), strings.ReplaceAll(key, "\x00", " "))
			}
			series[key] = true
		}
	}
	for _, d := range descriptors {
		if !seen[d.Name] {
			t.Errorf("%s has a descriptor and no metric", d.Name)
		}
	}
}

// The names that dashboards and alerts use; none may get lost.
func TestMetricNames(t *testing.T) {
	text, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, f := range families() {
		got.WriteString(strings.ToLower(f.kind.String()) + " " + f.name + " " + strings.Join(append(baseLabels(), f.labels...), ",") + "\n")
	}
	if d := cmp.Diff(string(text), got.String()); d != "" {
		t.Error(d)
	}
}

func TestMetricValues(t *testing.T) {
	fixture := "../sandbox/cgroup/testdata/stats/v1-6.18.json"
	d := sampleDetails(t, fixture)
	of := func(m *measured) map[string]uint64 {
		all := map[string]uint64{}
		for _, one := range m.metrics(families()) {
			all[strings.Join(append([]string{one.Name}, one.LabelValues[len(baseLabels()):]...), " ")] = one.Value.Value
		}
		return all
	}
	c := of(measureContainer(d, d.Containers[0]))
	for name, want := range map[string]uint64{
		"container_cpu_usage_seconds_total total":                 3,
		"container_cpu_cfs_throttled_periods_total":               20,
		"container_spec_cpu_quota":                                50000,
		"container_spec_memory_limit_bytes":                       67108864,
		"container_memory_failures_total pgmajfault container":    1,
		"container_memory_failures_total pgmajfault hierarchy":    11,
		"container_pressure_cpu_waiting_seconds_total":            3493,
		"container_hugetlb_usage_bytes 2MB":                       4194304,
		"container_fs_reads_bytes_total /dev/vda":                 1000,
		"container_fs_limit_bytes /dev/vda":                       1 << 30,
		"container_blkio_device_usage_total /dev/vda 254 0 Write": 2000,
		"container_memory_numa_pages anon hierarchy 0":            7680,
		"container_tasks_state sleeping":                          5,
		"container_ulimits_soft max_open_files":                   1024,
		"container_threads_max":                                   0,
		"container_oom_events_total":                              2,
		"container_start_time_seconds":                            uint64(d.Containers[0].Container.StartedAt.Unix()),
		"container_last_seen":                                     1_700_000_000,
	} {
		if got, ok := c[name]; !ok || got != want {
			t.Errorf("%s is %d (%v), want %d", name, got, ok, want)
		}
	}
	p := of(measurePod(d))
	if p["container_network_receive_packets_dropped_total eth0"] != 3 || p["container_memory_usage_bytes"] != 52428800 {
		t.Errorf("of the pod: %v", p)
	}
	for name := range c {
		if strings.HasPrefix(name, "container_network_") {
			t.Errorf("%s of a container: it is its pod's", name)
		}
	}
	// A pod on the host's network, in a cgroup that is not its own.
	d.Cgroup, d.Network = nil, nil
	m := measurePod(d)
	if m.at.IsZero() || time.Since(m.at) > time.Hour {
		t.Errorf("measured at %s", m.at)
	}
	for name := range of(m) {
		if name != "container_start_time_seconds" && name != "container_last_seen" {
			t.Errorf("%s of nothing", name)
		}
	}
}

func TestStreamMetrics(t *testing.T) {
	pods := &fakePods{}
	for range podsPerMessage + 1 {
		pods.details = append(pods.details, sampleDetails(t, fixtures(t)[0]))
	}
	s := serveStreaming(t, pods, &fakeImages{}, true)
	got, err := s.runtime.ListPodSandboxMetrics(s.ctx)
	if err != nil || len(got) != podsPerMessage+1 {
		t.Errorf("%d pods, %v", len(got), err)
	}
}
