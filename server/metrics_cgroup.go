package server

import (
	"strconv"

	"slipway/sandbox"
)

type (
	detail = *sandbox.CgroupDetail
	number = sandbox.Number
)

func cpuFamilies() []family {
	total := ofCgroup("container_cpu_usage_seconds_total", "Processor time used, in seconds.", counter,
		func(d detail) number { return inSeconds(knownIf(d.CPU.Known, uint64(d.CPU.Usage))) })
	return []family{
		ofCgroup("container_cpu_user_seconds_total", "Processor time used in user mode, in seconds.", counter,
			func(d detail) number { return inSeconds(d.User) }),
		ofCgroup("container_cpu_system_seconds_total", "Processor time used in the kernel, in seconds.", counter,
			func(d detail) number { return inSeconds(d.System) }),
		labelled(total, "cpu", "total"),
		ofCgroup("container_cpu_cfs_periods_total", "Scheduling periods that have passed under a quota.", counter,
			func(d detail) number { return d.Periods }),
		ofCgroup("container_cpu_cfs_throttled_periods_total", "Scheduling periods in which the quota was used up.", counter,
			func(d detail) number { return d.ThrottledPeriods }),
		ofCgroup("container_cpu_cfs_throttled_seconds_total", "Time spent waiting for the next period, in seconds.", counter,
			func(d detail) number { return inSeconds(d.Throttled) }),
		ofCgroup("container_cpu_cfs_burst_periods_total", "Scheduling periods in which more than the quota was used.", counter,
			func(d detail) number { return d.Bursts }),
		ofCgroup("container_cpu_cfs_burst_seconds_total", "Processor time used above the quota, in seconds.", counter,
			func(d detail) number { return inSeconds(d.Burst) }),
	}
}

// labelled gives a family of one value a label with one value.
func labelled(f family, key, label string) family {
	values := f.values
	f.labels = []string{key}
	f.values = func(m *measured, add adder) {
		values(m, func(n uint64, _ ...string) { add(n, label) })
	}
	return f
}

func memoryFamilies() []family {
	ofMemory := func(name, help string, n func(detail) uint64) family {
		return ofCgroup(name, help, gauge, func(d detail) number { return knownIf(d.Memory.Known, n(d)) })
	}
	return []family{
		ofMemory("container_memory_usage_bytes", "Memory in use, page cache included.", func(d detail) uint64 { return d.Memory.Usage }),
		ofMemory("container_memory_working_set_bytes", "Memory in use without the page cache that goes first.", func(d detail) uint64 { return d.Memory.WorkingSet }),
		ofMemory("container_memory_rss", "Anonymous memory.", func(d detail) uint64 { return d.Memory.RSS }),
		ofMemory("container_memory_cache", "Page cache.", func(d detail) uint64 { return d.Memory.Cache }),
		ofMemory("container_memory_mapped_file", "Mapped files.", func(d detail) uint64 { return d.Memory.Mapped }),
		ofMemory("container_memory_total_active_file_bytes", "Page cache that was used of late.", func(d detail) uint64 { return d.Memory.ActiveFile }),
		ofMemory("container_memory_total_inactive_file_bytes", "Page cache that goes first.", func(d detail) uint64 { return d.Memory.InactiveFile }),
		ofCgroup("container_memory_kernel_usage", "Memory that the kernel holds.", gauge, func(d detail) number { return d.Memory.Kernel }),
		ofCgroup("container_memory_swap", "Swapped memory.", gauge, func(d detail) number { return knownIf(d.Swap.Known, d.Swap.Usage) }),
		ofCgroup("container_memory_max_usage_bytes", "The most memory that was in use.", gauge, func(d detail) number { return d.MaxUsage }),
		ofCgroup("container_memory_failcnt", "How often the memory limit was reached.", counter, func(d detail) number { return d.LimitHits }),
		ofCgroup("container_memory_migrate", "1 when pages follow a change of the allowed memory nodes.", gauge, func(d detail) number { return d.Migrate }),
		ofCgroup("container_oom_events_total", "Processes killed for memory.", counter, func(d detail) number { return d.OOMKills }),
		{
			name: "container_memory_failures_total", help: "Page faults.", kind: counter,
			labels: []string{"failure_type", "scope"}, values: faults,
		},
		{
			name: "container_memory_numa_pages", help: "Pages in use on each memory node.", kind: gauge,
			labels: []string{"type", "scope", "node"}, values: numa,
		},
		hugetlb("container_hugetlb_usage_bytes", "Huge pages in use.", func(h hugetlbStats) number { return h.Usage }),
		hugetlb("container_hugetlb_max_usage_bytes", "The most huge pages that were in use.", func(h hugetlbStats) number { return h.Max }),
		counting(hugetlb("container_hugetlb_failcnt", "How often the limit of huge pages was reached.", func(h hugetlbStats) number { return h.LimitHits })),
	}
}

func counting(f family) family {
	f.kind = counter
	return f
}

type hugetlbStats = sandbox.HugetlbStats

func hugetlb(name, help string, of func(hugetlbStats) number) family {
	return family{name: name, help: help, kind: gauge, labels: []string{"pagesize"}, values: func(m *measured, add adder) {
		if m.cgroup == nil {
			return
		}
		for _, h := range m.cgroup.Hugetlb {
			if n := of(h); n.Known {
				add(n.N, h.Size)
			}
		}
	}}
}

// Scopes of a count: the group alone, or with those below it.
const (
	scopeOwn  = "container"
	scopeTree = "hierarchy"
)

// faults: v2 counts trees only, which cAdvisor shows in both scopes.
func faults(m *measured, add adder) {
	if m.cgroup == nil || !m.cgroup.Memory.Known {
		return
	}
	own, ownMajor := m.cgroup.Memory.Faults, m.cgroup.Memory.MajorFaults
	if m.cgroup.OwnFaults.Known {
		own, ownMajor = m.cgroup.OwnFaults.N, m.cgroup.OwnMajorFaults.N
	}
	add(own, "pgfault", scopeOwn)
	add(ownMajor, "pgmajfault", scopeOwn)
	add(m.cgroup.Memory.Faults, "pgfault", scopeTree)
	add(m.cgroup.Memory.MajorFaults, "pgmajfault", scopeTree)
}

func numa(m *measured, add adder) {
	if m.cgroup == nil {
		return
	}
	for _, n := range m.cgroup.Numa {
		scope := scopeOwn
		if n.Hierarchy {
			scope = scopeTree
		}
		add(n.Pages, n.Type, scope, strconv.FormatUint(n.Node, 10))
	}
}

func pressureFamilies() []family {
	var all []family
	for _, on := range []struct {
		what string
		of   func(detail) sandbox.Pressure
	}{
		{"cpu", func(d detail) sandbox.Pressure { return d.CPU.Pressure }},
		{"memory", func(d detail) sandbox.Pressure { return d.Memory.Pressure }},
		{"io", func(d detail) sandbox.Pressure { return d.IO }},
	} {
		all = append(all,
			ofCgroup("container_pressure_"+on.what+"_waiting_seconds_total", "Time in which some tasks waited for "+on.what+", in seconds.", counter,
				func(d detail) number { return inSeconds(knownIf(on.of(d).Known, uint64(on.of(d).Some.Total))) }),
			ofCgroup("container_pressure_"+on.what+"_stalled_seconds_total", "Time in which all tasks waited for "+on.what+", in seconds.", counter,
				func(d detail) number { return inSeconds(knownIf(on.of(d).Known, uint64(on.of(d).Full.Total))) }))
	}
	return all
}
