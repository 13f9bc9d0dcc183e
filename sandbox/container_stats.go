package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"slipway/oci"
	"slipway/sandbox/cgroup"
)

// Stats reads what a container uses. One that does not run uses its writable
// layer only.
// Errors: ErrNotFound.
func (p *Pods) Stats(ctx context.Context, id string) (*Stats, error) {
	c, err := p.container(id)
	if err != nil {
		return nil, err
	}
	st := &Stats{Container: c.snapshot.Load(), At: time.Now()}
	if fs, err := p.o.Images.FS(); err == nil {
		st.Writable.Mountpoint = fs.Mountpoint
	}
	if st.Writable.Bytes, st.Writable.Inodes, err = p.o.Images.Usage(c.id); err != nil {
		p.log.Debug("writable layer", "container", c.id, "error", err)
	}
	if st.Container.State != Running {
		return st, nil
	}
	g, err := p.group(c)
	if errors.Is(err, cgroup.ErrNotFound) { // it ends just now
		return st, nil
	}
	if err != nil {
		return nil, err
	}
	defer g.Close()
	if st.Cgroup, err = g.Stats(); err != nil {
		return nil, err
	}
	st.NanoCores = c.cores(st.At, uint64(st.Cgroup.CPU.Usage))
	return st, nil
}

// minSample is the least time between two readings that a rate is made of.
const minSample = 100 * time.Millisecond

// cores gives the rate of CPU use between this reading and the one before.
func (c *container) cores(at time.Time, usage uint64) uint64 {
	c.usage.Lock()
	defer c.usage.Unlock()
	last := c.sample
	dt := at.Sub(last.at)
	if !last.at.IsZero() && dt < minSample {
		return last.cores
	}
	c.sample = sample{at: at, usage: usage}
	if last.at.IsZero() || usage < last.usage {
		return 0
	}
	c.sample.cores = uint64(float64(usage-last.usage) / dt.Seconds())
	return c.sample.cores
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
