package sandbox

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"slipway/sandbox/cgroup"
)

// PodStats is what a pod sandbox uses: its cgroup and its network, and its
// containers. Of one that is not ready only the containers are known.
type PodStats struct {
	Pod        *Pod
	At         time.Time
	Cgroup     cgroup.Stats  // units as documented there
	NanoCores  cgroup.Number // as Stats has it
	Network    *NetworkStats // nil on the host's network, and when it cannot be read
	Processes  cgroup.Number
	Containers []*Stats // those that have not ended, oldest first
}

// PodStats reads what a pod sandbox uses.
// Errors: ErrNotFound.
func (p *Pods) PodStats(ctx context.Context, id string) (*PodStats, error) {
	s, err := p.pod(id)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, countWait)
	defer cancel()
	return p.podStats(ctx, s, p.members()), nil
}

// ListPodStats reads what the ready pods that match use, oldest first.
func (p *Pods) ListPodStats(ctx context.Context, match func(*Pod) bool) []*PodStats {
	ctx, cancel := context.WithTimeout(ctx, countWaitList)
	defer cancel()
	in := p.members()
	var all []*PodStats
	for _, s := range p.readyPods(match) {
		all = append(all, p.podStats(ctx, s, in))
	}
	return all
}

// readyPods returns the ready pods that match, oldest first.
func (p *Pods) readyPods(match func(*Pod) bool) []*pod {
	p.mu.RLock()
	var all []*pod
	for _, s := range p.pods {
		if snap := s.snapshot.Load(); snap.Ready && match(snap) {
			all = append(all, s)
		}
	}
	p.mu.RUnlock()
	slices.SortFunc(all, func(a, b *pod) int {
		return a.snapshot.Load().CreatedAt.Compare(b.snapshot.Load().CreatedAt)
	})
	return all
}

// members says which containers, and which cgroup parents, belong to which pods.
type members struct {
	containers map[string][]*container // by pod, oldest first; those that have not ended
	parents    map[string]int          // ready pods whose containers are right below this cgroup
}

// members looks once for all pods.
func (p *Pods) members() members {
	in := members{containers: map[string][]*container{}, parents: map[string]int{}}
	for _, c := range p.chosen(func(c *Container) bool { return c.State != Exited }) {
		in.containers[c.pod.id] = append(in.containers[c.pod.id], c)
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, s := range p.pods {
		if s.snapshot.Load().Ready {
			in.parents[p.cgroupAbove(s)]++
		}
	}
	return in
}

// podStats reads one pod; ctx bounds the wait for first counts.
func (p *Pods) podStats(ctx context.Context, s *pod, in members) *PodStats {
	st := &PodStats{Pod: s.snapshot.Load(), At: time.Now()}
	for _, c := range in.containers[s.id] {
		one, err := p.stats(ctx, c)
		if err != nil {
			p.log.DebugContext(ctx, "container left out of its pod's statistics", "container", c.id, "error", err)
			continue
		}
		st.Containers = append(st.Containers, one)
	}
	if !st.Pod.Ready {
		return st
	}
	var err error
	if st.Network, err = p.networkStats(s); err != nil {
		p.log.DebugContext(ctx, "network left out of statistics", "pod", s.id, "error", err)
	}
	st.Processes = p.processes(in.containers[s.id])
	if st.Cgroup, err = p.podUse(s, in); err != nil {
		st.Cgroup = sum(st.Containers)
	}
	if st.Cgroup.CPU.Known {
		st.NanoCores = s.gauge.cores(st.Cgroup.Time, st.Cgroup.CPU.Usage)
	}
	return st
}

// errSharedParent: the cgroup parent is not this pod's alone.
var errSharedParent = errors.New("cgroup parent of several pods")

// podUse reads the pod's cgroup. That is the parent that the request names: a
// kubelet makes one for each pod. Where none is named, or several pods have
// the same, the parent says nothing about one pod, and its containers are added
// up instead; then nothing is known of pressure.
func (p *Pods) podUse(s *pod, in members) (cgroup.Stats, error) {
	parent, err := p.ownParent(s, in)
	if err != nil {
		return cgroup.Stats{}, err
	}
	st, _, err := s.gauge.stats(p.o.Cgroups, parent)
	return st, err
}

// ownParent is the cgroup of the pod alone, if there is one.
func (p *Pods) ownParent(s *pod, in members) (string, error) {
	parent := p.cgroupAbove(s)
	if s.config.GetLinux().GetCgroupParent() == "" || in.parents[parent] > 1 {
		return "", fmt.Errorf("%q: %w", parent, errSharedParent)
	}
	return parent, nil
}

// cgroupAbove is the cgroup that the pod's containers are in.
func (p *Pods) cgroupAbove(s *pod) string { return path.Dir(p.cgroupPath(s, s.id)) }

// processes counts those of running containers.
func (p *Pods) processes(all []*container) cgroup.Number {
	sum := cgroup.Number{Known: true}
	for _, c := range all {
		if c.snapshot.Load().State != Running {
			continue
		}
		m, err := c.gauge.meter.get(func() (*cgroup.Meter, error) { return p.o.Cgroups.Meter(p.cgroupPath(c.pod, c.id)) })
		if err != nil {
			continue // it ends just now
		}
		if n, err := m.Processes(); err == nil {
			sum.N += n
		}
	}
	return sum
}

// sum adds up what containers use. A limit of all there is only if each has one.
func sum(containers []*Stats) (all cgroup.Stats) {
	limited := len(containers) > 0
	for _, c := range containers {
		one := c.Cgroup
		if one.Time.IsZero() { // it does not run
			continue
		}
		all.Time = one.Time
		all.CPU.Known = all.CPU.Known || one.CPU.Known
		all.CPU.Usage += one.CPU.Usage
		limited = limited && one.Memory.Limit != 0
		addMemory(&all.Memory, &one.Memory)
		all.Swap.Known = all.Swap.Known || one.Swap.Known
		all.Swap.Usage += one.Swap.Usage
	}
	if !limited {
		all.Memory.Limit, all.Memory.Available = 0, 0
	}
	return all
}

func addMemory(all, one *cgroup.MemoryStats) {
	all.Known = all.Known || one.Known
	all.Usage += one.Usage
	all.WorkingSet += one.WorkingSet
	all.RSS += one.RSS
	all.Cache += one.Cache
	all.Mapped += one.Mapped
	all.ActiveFile += one.ActiveFile
	all.InactiveFile += one.InactiveFile
	all.Limit += one.Limit
	all.Available += one.Available
	all.Faults += one.Faults
	all.MajorFaults += one.MajorFaults
}
