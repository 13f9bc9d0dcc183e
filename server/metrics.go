package server

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
)

// The metrics have the names and labels that cAdvisor gives them inside a
// kubelet, so that dashboards and alerts go on to work when the kubelet takes
// them from the runtime. Left out is what no kernel of today has a source for
// (per-sector and merged I/O of the CFQ scheduler), what cAdvisor counts only
// with switches that the kubelet leaves off (connections by state, perf events,
// RDT, referenced pages, scheduler statistics), and load averages, which a
// kubelet exports as 0. A value is a whole number, as the API has it: of
// seconds, too.

// baseLabels are the first labels of every metric. Of a pod's own metrics
// container and image are empty, and name is the pod's id.
func baseLabels() []string {
	return []string{"container", "id", "image", "name", "namespace", "pod"}
}

// A family is a metric's name and how its values are found.
type family struct {
	name, help string
	kind       cri.MetricType
	labels     []string // after the base labels
	values     func(m *measured, add adder)
}

// adder takes one value, with the values of the family's own labels.
type adder func(n uint64, labels ...string)

// measured is what metrics are made of: a container, or a pod by itself.
type measured struct {
	base      []string // values of the base labels
	at        time.Time
	started   time.Time
	devices   map[[2]uint64]string
	cgroup    *sandbox.CgroupDetail    // nil: of a pod without a cgroup of its own
	container *sandbox.ContainerDetail // nil: of a pod
	network   *sandbox.NetworkStats    // of a pod; nil: none of its own
}

// families are all metrics there are.
func families() []family {
	return slices.Concat(cpuFamilies(), memoryFamilies(), pressureFamilies(), diskFamilies(), networkFamilies(), processFamilies(), specFamilies())
}

// ListMetricDescriptors names all metrics that there can be on any host.
func (s *runtimeService) ListMetricDescriptors(context.Context, *cri.ListMetricDescriptorsRequest) (*cri.ListMetricDescriptorsResponse, error) {
	out := &cri.ListMetricDescriptorsResponse{}
	for _, f := range families() {
		out.Descriptors = append(out.Descriptors, &cri.MetricDescriptor{
			Name: f.name, Help: f.help, LabelKeys: append(baseLabels(), f.labels...),
		})
	}
	return out, nil
}

// ListPodSandboxMetrics measures the ready pod sandboxes and their running
// containers.
func (s *runtimeService) ListPodSandboxMetrics(ctx context.Context, _ *cri.ListPodSandboxMetricsRequest) (*cri.ListPodSandboxMetricsResponse, error) {
	all, err := s.podMetrics(ctx)
	return &cri.ListPodSandboxMetricsResponse{PodMetrics: all}, err
}

// podsPerMessage is how many pods' metrics go into one message of a stream: a
// pod has some hundred metrics for each container.
const podsPerMessage = 10

// StreamPodSandboxMetrics is ListPodSandboxMetrics in parts.
func (s *runtimeService) StreamPodSandboxMetrics(_ *cri.StreamPodSandboxMetricsRequest, out grpc.ServerStreamingServer[cri.StreamPodSandboxMetricsResponse]) error {
	all, err := s.podMetrics(out.Context())
	if err != nil {
		return err
	}
	for part := range slices.Chunk(all, podsPerMessage) {
		if err := out.Send(&cri.StreamPodSandboxMetricsResponse{PodSandboxMetrics: part}); err != nil {
			return err
		}
	}
	return nil
}

func (s *runtimeService) podMetrics(ctx context.Context) ([]*cri.PodSandboxMetrics, error) {
	details, err := s.pods.PodDetails(ctx)
	if err != nil {
		return nil, err
	}
	known := families()
	all := make([]*cri.PodSandboxMetrics, 0, len(details))
	for _, d := range details {
		p := &cri.PodSandboxMetrics{PodSandboxId: d.Pod.ID, Metrics: measurePod(d).metrics(known)}
		for _, c := range d.Containers {
			p.ContainerMetrics = append(p.ContainerMetrics, &cri.ContainerMetrics{
				ContainerId: c.Container.ID, Metrics: measureContainer(d, c).metrics(known),
			})
		}
		all = append(all, p)
	}
	return all, nil
}

func measurePod(d *sandbox.PodDetail) *measured {
	meta := d.Pod.Config.GetMetadata()
	m := &measured{
		base: []string{"", d.CgroupPath, "", d.Pod.ID, meta.GetNamespace(), meta.GetName()},
		at:   time.Now(), started: d.Pod.CreatedAt, devices: d.Devices, cgroup: d.Cgroup, network: d.Network,
	}
	switch {
	case d.Cgroup != nil:
		m.at = d.Cgroup.Time
	case d.Network != nil:
		m.at = d.Network.At
	}
	return m
}

func measureContainer(d *sandbox.PodDetail, c *sandbox.ContainerDetail) *measured {
	meta := d.Pod.Config.GetMetadata()
	image := c.Container.Config.GetImage().GetUserSpecifiedImage()
	if image == "" {
		image = c.Container.Config.GetImage().GetImage()
	}
	return &measured{
		base: []string{
			c.Container.Config.GetMetadata().GetName(), c.CgroupPath, image, c.Container.ID,
			meta.GetNamespace(), meta.GetName(),
		},
		at: c.Cgroup.Time, started: c.Container.StartedAt, devices: d.Devices, cgroup: &c.Cgroup, container: c,
	}
}

// metrics makes the metrics of all families that have values.
func (m *measured) metrics(known []family) (all []*cri.Metric) {
	at := nanos(m.at)
	for _, f := range known {
		f.values(m, func(n uint64, labels ...string) {
			all = append(all, &cri.Metric{
				Name: f.name, Timestamp: at, MetricType: f.kind,
				LabelValues: slices.Concat(m.base, labels), Value: value(n),
			})
		})
	}
	return all
}

// device is the path of a block device.
func (m *measured) device(major, minor uint64) string { return m.devices[[2]uint64{major, minor}] }

const (
	counter = cri.MetricType_COUNTER
	gauge   = cri.MetricType_GAUGE
)

// ofCgroup makes a family of one number of the cgroup.
func ofCgroup(name, help string, kind cri.MetricType, number func(*sandbox.CgroupDetail) sandbox.Number) family {
	return family{name: name, help: help, kind: kind, values: func(m *measured, add adder) {
		if m.cgroup == nil {
			return
		}
		if n := number(m.cgroup); n.Known {
			add(n.N)
		}
	}}
}

// inSeconds turns nanoseconds into seconds.
func inSeconds(n sandbox.Number) sandbox.Number {
	n.N /= uint64(time.Second)
	return n
}

// knownIf is a number that is known under a condition.
func knownIf(ok bool, n uint64) sandbox.Number { return sandbox.Number{N: n, Known: ok} }
