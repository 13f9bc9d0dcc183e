package cgroup

import (
	"math"
	"strconv"
	"strings"
	"time"
)

func readV2(d dir, s *Stats) {
	s.CPU.readStat(d)
	s.Memory.readV2(d, &s.Swap)
	s.Tasks.read(d)
	s.IO.readV2(d)
}

// readStat reads the cpu.stat of v2: there with or without the cpu controller.
func (c *CPUStats) readStat(d dir) {
	text, err := d.read("cpu.stat")
	if err != nil {
		return
	}
	parsePairs(text, func(key string, n uint64) {
		switch key {
		case "usage_usec":
			c.Known, c.Usage = true, micros(n)
		case "user_usec":
			c.User = micros(n)
		case "system_usec":
			c.System = micros(n)
		case "nr_periods":
			c.Periods = n
		case "nr_throttled":
			c.ThrottledPeriods = n
		case "throttled_usec":
			c.Throttled = micros(n)
		}
	})
}

func micros(n uint64) time.Duration { return time.Duration(n) * time.Microsecond }

func (m *MemoryStats) readV2(d dir, swap *SwapStats) {
	usage, err := readUint(d, "memory.current")
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
		case "anon":
			m.RSS = n
		case "inactive_file":
			inactive = n
		case "pgfault":
			m.Faults = n
		case "pgmajfault":
			m.MajorFaults = n
		}
	})
	limit, err := readUint(d, "memory.max")
	if err != nil {
		limit = math.MaxUint64
	}
	m.finish(inactive, limit)
	if events, err := d.read("memory.events"); err == nil {
		m.OOMKills = oomKills(events)
	}
	if used, err := readUint(d, "memory.swap.current"); err == nil {
		*swap = SwapStats{Known: true, Usage: used}
		if most, err := readUint(d, "memory.swap.max"); err == nil && most < unlimited {
			swap.Limited, swap.Available = true, most-min(used, most)
		}
	}
}

// oomKills finds the line "oom_kill N", which both versions have.
func oomKills(text string) (kills uint64) {
	parsePairs(text, func(key string, n uint64) {
		if key == "oom_kill" {
			kills = n
		}
	})
	return kills
}

func (t *TaskStats) read(d dir) {
	n, err := readUint(d, "pids.current")
	t.Known, t.Current = err == nil, n
}

// readV2 reads io.stat: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0".
func (s *IOStats) readV2(d dir) {
	text, err := d.read("io.stat")
	if err != nil {
		return
	}
	s.Known = true
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		dev, ok := parseDevice(fields[0])
		if !ok {
			continue
		}
		for _, f := range fields[1:] {
			key, text, _ := strings.Cut(f, "=")
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				continue
			}
			switch key {
			case "rbytes":
				dev.ReadBytes = n
			case "wbytes":
				dev.WriteBytes = n
			case "rios":
				dev.Reads = n
			case "wios":
				dev.Writes = n
			}
		}
		s.Devices = append(s.Devices, dev)
	}
}

// parseDevice reads "MAJOR:MINOR".
func parseDevice(text string) (d IODevice, ok bool) {
	major, minor, _ := strings.Cut(text, ":")
	var errMajor, errMinor error
	d.Major, errMajor = strconv.ParseUint(major, 10, 32)
	d.Minor, errMinor = strconv.ParseUint(minor, 10, 32)
	return d, errMajor == nil && errMinor == nil
}

// readPressure reads one PSI file: two lines "some avg10=0.00 avg60=0.00
// avg300=0.00 total=0". A kernel can have it compiled in and switched off: then
// reading is an error and the part unknown.
func readPressure(d dir, file string) Pressure {
	text, err := d.read(file)
	if err != nil {
		return Pressure{}
	}
	return parsePressure(text)
}

func parsePressure(text string) (p Pressure) {
	for line := range strings.Lines(text) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		into := &p.Some
		switch kind {
		case "some":
			p.Known = true
		case "full":
			into = &p.Full
		default:
			continue
		}
		for _, f := range strings.Fields(rest) {
			key, text, _ := strings.Cut(f, "=")
			n, err := strconv.ParseFloat(text, 64)
			if err != nil {
				continue
			}
			switch key {
			case "avg10":
				into.Avg10 = n
			case "avg60":
				into.Avg60 = n
			case "avg300":
				into.Avg300 = n
			case "total":
				into.Total = micros(uint64(n))
			}
		}
	}
	return p
}
