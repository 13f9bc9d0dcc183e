package cgroup

import (
	"math"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// text reads a control file; "" when there is none.
func (g *Group) text(controller, file string) string {
	d, ok := g.at(controller)
	if !ok {
		return ""
	}
	text, err := d.read(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(text)
}

// limit reads a number as a request spells it: -1 is none, nil is unknown.
func limit(text string) *int64 {
	n, err := parseUint(text)
	if err != nil {
		return nil
	}
	out := int64(-1)
	if n < unlimited {
		out = int64(n)
	}
	return &out
}

func (g *Group) limitsV1() *specs.LinuxResources {
	res := &specs.LinuxResources{
		CPU:    &specs.LinuxCPU{Cpus: g.text("cpuset", "cpuset.cpus"), Mems: g.text("cpuset", "cpuset.mems")},
		Memory: &specs.LinuxMemory{},
		Pids:   &specs.LinuxPids{Limit: limit(g.text("pids", "pids.max"))},
	}
	if n, err := parseUint(g.text("cpu", "cpu.shares")); err == nil {
		res.CPU.Shares = &n
	}
	if n, err := parseUint(g.text("cpu", "cpu.cfs_period_us")); err == nil {
		res.CPU.Period = &n
	}
	res.CPU.Quota = limit(g.text("cpu", "cpu.cfs_quota_us"))
	res.Memory.Limit = limit(g.text("memory", "memory.limit_in_bytes"))
	res.Memory.Swap = limit(g.text("memory", "memory.memsw.limit_in_bytes"))
	return res
}

func (g *Group) limitsV2() *specs.LinuxResources {
	res := &specs.LinuxResources{
		CPU:    &specs.LinuxCPU{Cpus: g.text("cpuset", "cpuset.cpus"), Mems: g.text("cpuset", "cpuset.mems")},
		Memory: &specs.LinuxMemory{Limit: limit(g.text("memory", "memory.max"))},
		Pids:   &specs.LinuxPids{Limit: limit(g.text("pids", "pids.max"))},
	}
	if w := g.text("cpu", "cpu.weight"); w != "" {
		res.Unified = map[string]string{"cpu.weight": w}
	}
	if quota, period, ok := strings.Cut(g.text("cpu", "cpu.max"), " "); ok {
		res.CPU.Quota = limit(quota)
		if n, err := strconv.ParseUint(period, 10, 64); err == nil {
			res.CPU.Period = &n
		}
	}
	swap, memory := limit(g.text("memory", "memory.swap.max")), res.Memory.Limit
	if swap != nil && memory != nil {
		total := int64(-1)
		if *swap >= 0 && *memory >= 0 && *swap <= math.MaxInt64-*memory {
			total = *swap + *memory
		}
		res.Memory.Swap = &total
	}
	return res
}
