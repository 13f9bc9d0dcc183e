package sandbox

import (
	"context"
	"fmt"

	"slipway/imagestore"
	"slipway/sandbox/cgroup"
	"slipway/sandbox/linux"
)

// PodDetail is all that can be told of a ready pod sandbox, for metrics.
type PodDetail struct {
	Pod        *Pod
	CgroupPath string
	Cgroup     *cgroup.Detail // nil when no cgroup is this pod's alone
	Network    *NetworkStats  // nil on the host's network
	Containers []*ContainerDetail
	Devices    map[[2]uint64]string // paths of block devices by major and minor
}

// ContainerDetail is all that can be told of a running container.
type ContainerDetail struct {
	Container  *Container
	CgroupPath string
	Cgroup     cgroup.Detail
	Processes  cgroup.Number
	Tasks      linux.Tasks
	Writable   *imagestore.Usage // nil: not counted yet
}

// PodDetails reads all that can be told of the ready pods, oldest first. It ends
// early, with an error, when ctx does.
func (p *Pods) PodDetails(ctx context.Context) ([]*PodDetail, error) {
	in := p.members()
	devices := map[[2]uint64]string{}
	var all []*PodDetail
	for _, s := range p.readyPods(func(*Pod) bool { return true }) {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("read pods: %w", err)
		}
		all = append(all, p.podDetail(ctx, s, in, devices))
	}
	return all, nil
}

func (p *Pods) podDetail(ctx context.Context, s *pod, in members, devices map[[2]uint64]string) *PodDetail {
	d := &PodDetail{Pod: s.snapshot.Load(), Devices: devices}
	var err error
	if d.Network, err = p.networkStats(s); err != nil {
		p.log.DebugContext(ctx, "network left out of metrics", "pod", s.id, "error", err)
	}
	if parent, err := p.ownParent(s, in); err == nil {
		d.CgroupPath = parent
		if one, err := p.detail(&s.gauge, parent); err == nil {
			d.Cgroup = &one
			nameDevices(devices, &one, nil)
		}
	}
	for _, c := range in.containers[s.id] {
		one, err := p.containerDetail(c)
		if err != nil {
			p.log.DebugContext(ctx, "container left out of metrics", "container", c.id, "error", err)
			continue
		}
		if one != nil {
			nameDevices(devices, &one.Cgroup, one.Writable)
			d.Containers = append(d.Containers, one)
		}
	}
	return d
}

func (p *Pods) detail(g *gauge, path string) (cgroup.Detail, error) {
	m, err := g.meter.get(func() (*cgroup.Meter, error) { return p.o.Cgroups.Meter(path) })
	if err != nil {
		return cgroup.Detail{}, err
	}
	d, err := m.Detail()
	if err != nil {
		g.meter.drop(m)
	}
	return d, err
}

// containerDetail reads one container; nil: it does not run.
func (p *Pods) containerDetail(c *container) (*ContainerDetail, error) {
	d := &ContainerDetail{Container: c.snapshot.Load(), CgroupPath: p.cgroupPath(c.pod, c.id)}
	if d.Container.State != Running {
		return nil, nil
	}
	var err error
	if d.Cgroup, err = p.detail(&c.gauge, d.CgroupPath); err != nil {
		return nil, err
	}
	m, err := c.gauge.meter.get(func() (*cgroup.Meter, error) { return p.o.Cgroups.Meter(d.CgroupPath) })
	if err != nil {
		return nil, err
	}
	if pids, err := m.Pids(); err == nil {
		d.Processes = cgroup.Number{N: uint64(len(pids)), Known: true}
		d.Tasks = linux.ReadTasks(pids, d.Container.Pid)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel() // wait for no count
	if u, err := p.o.Images.Usage(ended, c.id); err == nil {
		d.Writable = &u
	}
	return d, nil
}

// nameDevices finds the paths of the devices that a reading names.
func nameDevices(names map[[2]uint64]string, d *cgroup.Detail, u *imagestore.Usage) {
	name := func(major, minor uint64) {
		key := [2]uint64{major, minor}
		if _, ok := names[key]; !ok {
			names[key] = linux.BlockDevice(major, minor)
		}
	}
	for _, dev := range d.Devices.Devices {
		name(dev.Major, dev.Minor)
	}
	if u != nil {
		name(u.Disk.Major, u.Disk.Minor)
	}
}
