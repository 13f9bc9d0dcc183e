package cgroup

import "time"

func (s *Stats) readV2(get content) {
	if text, ok := get(cpuUsage); ok {
		s.CPU.readV2(text)
	}
	s.Memory.readV2(get)
	if used, ok := get.readNumber(swapUsage); ok {
		s.Swap = SwapStats{Known: true, Usage: used}
		if most, ok := get.readNumber(swapLimit); ok && most < unlimited {
			s.Swap.Limited, s.Swap.Available = true, most-min(used, most)
		}
	}
}

// readV2 reads a cpu.stat: cgroup2 has it with or without the cpu controller.
func (c *CPUStats) readV2(text []byte) {
	eachPair(text, func(key []byte, n uint64) {
		if string(key) == "usage_usec" {
			c.Known, c.Usage = true, micros(n)
		}
	})
}

func micros(n uint64) time.Duration { return time.Duration(n) * time.Microsecond }

func (m *MemoryStats) readV2(get content) {
	usage, ok := get.readNumber(memoryUsage)
	if !ok {
		return
	}
	text, ok := get(memoryStat)
	if !ok {
		return
	}
	m.Known, m.Usage = true, usage
	eachPair(text, func(key []byte, n uint64) {
		switch string(key) {
		case "anon":
			m.RSS = n
		case "file":
			m.Cache = n
		case "kernel": // Linux 5.18 and later
			m.Kernel = Number{n, true}
		case "file_mapped":
			m.Mapped = n
		case "active_file":
			m.ActiveFile = n
		case "inactive_file":
			m.InactiveFile = n
		case "pgfault":
			m.Faults = n
		case "pgmajfault":
			m.MajorFaults = n
		}
	})
	m.limit(get)
}
