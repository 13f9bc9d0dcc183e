package cgroup

import "time"

func (s *Stats) readV1(get content) {
	if text, ok := get(cpuUsage); ok {
		n, ok := parseNumber(text)
		s.CPU.Known, s.CPU.Usage = ok, time.Duration(n)
	}
	s.Memory.readV1(get, &s.Swap)
}

// readV1 uses the "total_" lines: those without count the group alone, and a
// container may have made groups below its own.
func (m *MemoryStats) readV1(get content, swap *SwapStats) {
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
		case "total_rss":
			m.RSS = n
		case "total_cache":
			m.Cache = n
		case "total_mapped_file":
			m.Mapped = n
		case "total_active_file":
			m.ActiveFile = n
		case "total_inactive_file":
			m.InactiveFile = n
		case "total_pgfault":
			m.Faults = n
		case "total_pgmajfault":
			m.MajorFaults = n
		case "total_swap":
			swap.Known, swap.Usage = true, n
		}
	})
	m.limit(get)
	if m.Limit == 0 {
		return // then the limit of both together says nothing of swap
	}
	if total, ok := get.readNumber(swapLimit); ok && total < unlimited {
		swap.Limited, swap.Available = true, total-min(m.Limit+swap.Usage, total)
	}
}
