package cgroup

import (
	"math"
	"strconv"
	"strings"
	"time"
)

func (g *Group) readV1(s *Stats) {
	if d, ok := g.at("cpuacct"); ok {
		if n, err := readUint(d, "cpuacct.usage"); err == nil {
			s.CPU.Known, s.CPU.Usage = true, time.Duration(n)
		}
	}
	if d, ok := g.at("cpu"); ok {
		s.CPU.readThrottling(d)
	}
	if d, ok := g.at("memory"); ok {
		s.Memory.readV1(d, &s.Swap)
	}
	if d, ok := g.at("pids"); ok {
		s.Tasks.read(d)
	}
	if d, ok := g.at("blkio"); ok {
		s.IO.readV1(d)
	}
	if d, ok := g.unified(); ok && !s.CPU.Known {
		s.CPU.readStat(d) // a cgroup2 tree counts time without a controller
	}
}

func (c *CPUStats) readThrottling(d dir) {
	text, err := d.read("cpu.stat")
	if err != nil {
		return
	}
	parsePairs(text, func(key string, n uint64) {
		switch key {
		case "nr_periods":
			c.Periods = n
		case "nr_throttled":
			c.ThrottledPeriods = n
		case "throttled_time":
			c.Throttled = time.Duration(n)
		}
	})
}

// readV1 uses the "total_" lines: those without count the group alone, and a
// container may have made groups below its own.
func (m *MemoryStats) readV1(d dir, swap *SwapStats) {
	usage, err := readUint(d, "memory.usage_in_bytes")
	if err != nil {
		return
	}
	text, err := d.read("memory.stat")
	if err != nil {
		return
	}
	m.Known, m.Usage = true, usage
	var inactive uint64
	parsePairs(text, func(key string, n uint64) {
		switch key {
		case "total_rss":
			m.RSS = n
		case "total_inactive_file":
			inactive = n
		case "total_pgfault":
			m.Faults = n
		case "total_pgmajfault":
			m.MajorFaults = n
		case "total_swap":
			swap.Known, swap.Usage = true, n
		}
	})
	limit, err := readUint(d, "memory.limit_in_bytes")
	if err != nil {
		limit = math.MaxUint64
	}
	m.finish(inactive, limit)
	if events, err := d.read("memory.oom_control"); err == nil {
		m.OOMKills = oomKills(events)
	}
	if total, err := readUint(d, "memory.memsw.limit_in_bytes"); err == nil && total < unlimited && limit < unlimited {
		swap.Limited, swap.Available = true, total-min(limit+swap.Usage, total)
	}
}

// readV1 reads what the throttling layer counts, which every I/O scheduler has:
// lines "8:0 Read 4096". The _recursive files include groups below.
func (s *IOStats) readV1(d dir) {
	bytes, err := d.read("blkio.throttle.io_service_bytes_recursive")
	if err != nil {
		return
	}
	requests, err := d.read("blkio.throttle.io_serviced_recursive")
	if err != nil {
		return
	}
	s.Known = true
	s.addV1(bytes, func(d *IODevice) (read, write *uint64) { return &d.ReadBytes, &d.WriteBytes })
	s.addV1(requests, func(d *IODevice) (read, write *uint64) { return &d.Reads, &d.Writes })
}

func (s *IOStats) addV1(text string, counters func(*IODevice) (read, write *uint64)) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue // "Total 0"
		}
		dev, ok := parseDevice(fields[0])
		n, err := strconv.ParseUint(fields[2], 10, 64)
		if !ok || err != nil {
			continue
		}
		read, write := counters(s.device(dev))
		switch fields[1] {
		case "Read":
			*read = n
		case "Write":
			*write = n
		}
	}
}

func (s *IOStats) device(want IODevice) *IODevice {
	for i := range s.Devices {
		if s.Devices[i].Major == want.Major && s.Devices[i].Minor == want.Minor {
			return &s.Devices[i]
		}
	}
	s.Devices = append(s.Devices, want)
	return &s.Devices[len(s.Devices)-1]
}
