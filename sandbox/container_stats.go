package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"slipway/oci"
	"slipway/sandbox/cgroup"
	"slipway/sandbox/linux"
)

// Readings, as the rooms that measure made them.
type (
	// CgroupStats is what a kubelet asks of a cgroup every few seconds.
	CgroupStats = cgroup.Stats
	// CgroupDetail is all that a cgroup can tell.
	CgroupDetail = cgroup.Detail
	// Number is a value that not every kernel has.
	Number = cgroup.Number
	// Pressure is pressure stall information.
	Pressure = cgroup.Pressure
	// PressureLine is one line of it.
	PressureLine = cgroup.PressureLine
	// HugetlbStats counts huge pages of one size.
	HugetlbStats = cgroup.HugetlbStats
	// IODevice counts what went to and from a block device.
	IODevice = cgroup.IODevice
	// Interface is what a network interface has counted.
	Interface = linux.Interface
)

// Stats is what a container uses.
type Stats struct {
	Container *Container
	At        time.Time
	Cgroup    CgroupStats // units as documented there
	NanoCores Number      // CPU use since the last reading, in billionths of a core
	Writable  Writable
}

// Writable is what a container's writable layer takes up. It is counted in the
// background.
type Writable struct {
	// Mountpoint is that of the images: the kubelet asks for the room on
	// each one that it sees, and a container's own directory may be gone.
	Mountpoint    string
	At            time.Time // of the count; zero: not counted yet
	Bytes, Inodes uint64
}

// How long a reading waits for the first count of writable layers: of one
// container, and of all in a list together.
const (
	countWait     = time.Second
	countWaitList = 200 * time.Millisecond
)

// Stats reads what a container uses. One that does not run uses its writable
// layer only.
// Errors: ErrNotFound.
func (p *Pods) Stats(ctx context.Context, id string) (*Stats, error) {
	c, err := p.container(id)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, countWait)
	defer cancel()
	return p.stats(ctx, c)
}

// ListStats reads what the containers that match use, oldest first. One that
// cannot be read is left out: it must not hide all others.
func (p *Pods) ListStats(ctx context.Context, match func(*Container) bool) []*Stats {
	ctx, cancel := context.WithTimeout(ctx, countWaitList)
	defer cancel()
	return p.listStats(ctx, match)
}

func (p *Pods) listStats(ctx context.Context, match func(*Container) bool) []*Stats {
	var all []*Stats
	for _, c := range p.chosen(match) {
		st, err := p.stats(ctx, c)
		if err != nil {
			p.log.DebugContext(ctx, "container left out of statistics", "container", c.id, "error", err)
			continue
		}
		all = append(all, st)
	}
	return all
}

// chosen returns the containers that match, oldest first.
func (p *Pods) chosen(match func(*Container) bool) []*container {
	p.mu.RLock()
	all := make([]*container, 0, len(p.containers))
	for _, c := range p.containers {
		if match(c.snapshot.Load()) {
			all = append(all, c)
		}
	}
	p.mu.RUnlock()
	slices.SortFunc(all, func(a, b *container) int {
		return a.snapshot.Load().CreatedAt.Compare(b.snapshot.Load().CreatedAt)
	})
	return all
}

// stats reads one container; ctx bounds the wait for a first count.
func (p *Pods) stats(ctx context.Context, c *container) (*Stats, error) {
	st := &Stats{Container: c.snapshot.Load(), At: time.Now(), Writable: p.writable(ctx, c)}
	if st.Container.State != Running {
		return st, nil
	}
	var err error
	st.Cgroup, _, err = c.gauge.stats(p.o.Cgroups, p.cgroupPath(c.pod, c.id))
	if errors.Is(err, cgroup.ErrNotFound) || errors.Is(err, ErrState) { // it ends just now
		return st, nil
	}
	if err != nil {
		return nil, err
	}
	st.At = st.Cgroup.Time
	if st.Cgroup.CPU.Known {
		st.NanoCores = c.gauge.cores(st.At, st.Cgroup.CPU.Usage)
	}
	return st, nil
}

func (p *Pods) writable(ctx context.Context, c *container) Writable {
	w := Writable{Mountpoint: p.o.Images.Mountpoint()}
	u, err := p.o.Images.Usage(ctx, c.id)
	if err != nil {
		p.log.DebugContext(ctx, "writable layer", "container", c.id, "error", err)
		return w
	}
	w.At, w.Bytes, w.Inodes = u.At, u.Bytes, u.Inodes
	return w
}

// Spec returns the OCI spec of a container as it is run, with the limits that
// are in force.
// Errors: ErrNotFound.
func (p *Pods) Spec(id string) (json.RawMessage, error) {
	c, err := p.container(id)
	if err != nil {
		return nil, err
	}
	in := c.snapshot.Load().Resources
	if in == c.config.GetLinux().GetResources() { // never updated
		return os.ReadFile(filepath.Join(c.dir, specFile))
	}
	spec, err := readSpec(c.dir)
	if err != nil {
		return nil, err
	}
	limits, err := oci.Resources(in, p.o.Host)
	if err != nil {
		return nil, err
	}
	if spec.Linux.Resources != nil {
		limits.Devices = spec.Linux.Resources.Devices
	}
	spec.Linux.Resources = limits
	return json.Marshal(spec)
}
