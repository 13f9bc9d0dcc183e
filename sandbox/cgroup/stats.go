package cgroup

import (
	"time"
)

// Stats is one reading of a group and everything below it. A part whose Known is
// false is not counted on this host; its numbers are zero. Counters only grow.
type Stats struct {
	Time   time.Time // when the reading began
	CPU    CPUStats
	Memory MemoryStats
	Swap   SwapStats
	Tasks  TaskStats
	IO     IOStats
}

// CPUStats counts processor time. Throttling is known on v2 and with the v1 cpu
// controller; its counters stay 0 without a quota.
type CPUStats struct {
	Known            bool
	Usage            time.Duration // of all processors together
	User, System     time.Duration // 0 on v1, where they come in ticks only
	Periods          uint64        // scheduling periods that have passed
	ThrottledPeriods uint64
	Throttled        time.Duration
	Pressure         Pressure
}

// MemoryStats is in bytes and counts.
type MemoryStats struct {
	Known       bool
	Usage       uint64 // everything charged: anonymous, page cache, kernel
	WorkingSet  uint64 // usage without the inactive page cache; eviction goes by it
	RSS         uint64 // anonymous memory, as the CRI defines rss
	Limit       uint64 // the group's own; 0: none
	Available   uint64 // limit minus working set; 0 without a limit
	Faults      uint64
	MajorFaults uint64
	OOMKills    uint64 // processes killed for memory
	Pressure    Pressure
}

// SwapStats is in bytes. Limited is false when the group may use all there is.
type SwapStats struct {
	Known     bool
	Usage     uint64
	Limited   bool
	Available uint64 // what is left of the group's own limit
}

// TaskStats counts threads as the pids controller does.
type TaskStats struct {
	Known   bool
	Current uint64
}

// IOStats has one entry for each block device that was used.
type IOStats struct {
	Known    bool
	Devices  []IODevice
	Pressure Pressure
}

// IODevice counts bytes and requests since the group was made.
type IODevice struct {
	Major, Minor          uint64
	ReadBytes, WriteBytes uint64
	Reads, Writes         uint64
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

// Stats reads the group once, one open for each file. What the host does not
// count, or a file that is missing or unreadable, leaves its part unknown: only a
// group that is gone as a whole is an error (ErrNotFound). Of a child it reads the
// hierarchy that the child is in.
func (g *Group) Stats() (Stats, error) {
	release, err := g.use()
	if err != nil {
		return Stats{}, err
	}
	defer release()
	if err := g.alive(); err != nil {
		return Stats{}, err
	}
	s := Stats{Time: time.Now()}
	if g.tree.v2 {
		d, _ := g.unified()
		readV2(d, &s)
	} else {
		g.readV1(&s)
	}
	if d, ok := g.unified(); ok {
		s.CPU.Pressure = readPressure(d, "cpu.pressure")
		s.Memory.Pressure = readPressure(d, "memory.pressure")
		s.IO.Pressure = readPressure(d, "io.pressure")
	}
	return s, nil
}

// finish computes what both versions derive in the same way.
func (m *MemoryStats) finish(inactiveFile, limit uint64) {
	m.WorkingSet = m.Usage - min(inactiveFile, m.Usage)
	if limit < unlimited {
		m.Limit = limit
		m.Available = limit - min(m.WorkingSet, limit)
	}
}
