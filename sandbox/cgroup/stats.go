package cgroup

import (
	"time"
)

// Stats is what a kubelet asks of a group every few seconds: one reading of it
// and of everything below it. A part whose Known is false is not counted on this
// host; its numbers are zero. Counters only grow.
type Stats struct {
	Time   time.Time // when the reading began
	CPU    CPUStats
	Memory MemoryStats
	Swap   SwapStats
	IO     Pressure // of block devices
}

// CPUStats counts processor time.
type CPUStats struct {
	Known    bool
	Usage    time.Duration // of all processors together
	Pressure Pressure
}

// MemoryStats is in bytes and counts.
type MemoryStats struct {
	Known        bool
	Usage        uint64 // everything charged: anonymous, page cache, kernel
	WorkingSet   uint64 // usage without the inactive page cache; eviction goes by it
	RSS          uint64 // anonymous memory, as the CRI defines rss
	Cache        uint64 // page cache, with shared memory
	Mapped       uint64 // files that are mapped
	ActiveFile   uint64 // page cache that was used of late
	InactiveFile uint64 // page cache that goes first
	Kernel       Number // what the kernel holds for it
	Limit        uint64 // the group's own; 0: none
	Available    uint64 // limit minus working set; 0 without a limit
	Faults       uint64
	MajorFaults  uint64
	Pressure     Pressure
}

// SwapStats is in bytes. Limited is false when the group may use all there is.
type SwapStats struct {
	Known     bool
	Usage     uint64
	Limited   bool
	Available uint64 // what is left of the group's own limit
}

// Number is a value that not every kernel or hierarchy has.
type Number struct {
	N     uint64
	Known bool
}

// Pressure is pressure stall information (PSI): how long some, or all, tasks
// waited for a resource. On v1 it comes from the cgroup2 tree beside it.
type Pressure struct {
	Known      bool
	Some, Full PressureLine
}

// PressureLine holds shares of the last 10, 60 and 300 seconds in percent, and
// the whole time.
type PressureLine struct {
	Avg10, Avg60, Avg300 float64
	Total                time.Duration
}

// A control is one file of a group, in the hierarchy that carries a controller;
// "" is the cgroup2 tree.
type control struct{ controller, file string }

// The files of Stats, in the order of the tables below.
const (
	cpuUsage = iota
	memoryUsage
	memoryStat
	memoryLimit
	swapUsage
	swapLimit
	cpuPressure
	memoryPressure
	ioPressure
	metered // how many there are
)

func controlsV2() [metered]control {
	return [metered]control{
		{"cpu", "cpu.stat"},
		{"memory", "memory.current"},
		{"memory", "memory.stat"},
		{"memory", "memory.max"},
		{"memory", "memory.swap.current"},
		{"memory", "memory.swap.max"},
		{"", "cpu.pressure"},
		{"", "memory.pressure"},
		{"", "io.pressure"},
	}
}

// controlsV1: swapped memory is a line of memory.stat.
func controlsV1() [metered]control {
	return [metered]control{
		{"cpuacct", "cpuacct.usage"},
		{"memory", "memory.usage_in_bytes"},
		{"memory", "memory.stat"},
		{"memory", "memory.limit_in_bytes"},
		{},
		{"memory", "memory.memsw.limit_in_bytes"},
		{"", "cpu.pressure"},
		{"", "memory.pressure"},
		{"", "io.pressure"},
	}
}

// content returns what is in file i of the tables; false: unreadable, or there
// is no such file. It is valid until the next call.
type content func(i int) ([]byte, bool)

// read fills s. A file that is missing or unreadable leaves its part unknown.
func (s *Stats) read(get content, v2 bool) {
	if v2 {
		s.readV2(get)
	} else {
		s.readV1(get)
	}
	for i, into := range [...]*Pressure{&s.CPU.Pressure, &s.Memory.Pressure, &s.IO} {
		if text, ok := get(cpuPressure + i); ok {
			*into = parsePressure(text)
		}
	}
}

// readNumber reads a file that holds one number.
func (get content) readNumber(i int) (uint64, bool) {
	text, ok := get(i)
	if !ok {
		return 0, false
	}
	return parseNumber(text)
}

// limit computes what both versions derive in the same way.
func (m *MemoryStats) limit(get content) {
	m.WorkingSet = m.Usage - min(m.InactiveFile, m.Usage)
	if limit, ok := get.readNumber(memoryLimit); ok && limit < unlimited {
		m.Limit = limit
		m.Available = limit - min(m.WorkingSet, limit)
	}
}
