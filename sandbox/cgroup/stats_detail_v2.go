package cgroup

import (
	"bytes"
	"math"
	"time"
)

func (d *Detail) readV2(get opener, sizes []string) {
	get.pairs("cpu", "cpu.stat", map[string]*Number{
		"user_usec": &d.User, "system_usec": &d.System,
		"nr_periods": &d.Periods, "nr_throttled": &d.ThrottledPeriods, "throttled_usec": &d.Throttled,
		"nr_bursts": &d.Bursts, "burst_usec": &d.Burst,
	})
	for _, n := range []*Number{&d.User, &d.System, &d.Throttled, &d.Burst} {
		n.scale(time.Microsecond)
	}
	if n := get.number("cpu", "cpu.weight"); n.Known {
		d.Shares = Number{sharesOfWeight(n.N), true}
	}
	d.bandwidthV2(get)
	get.pairs("memory", "memory.events", map[string]*Number{"max": &d.LimitHits, "oom_kill": &d.OOMKills})
	d.MaxUsage = get.number("memory", "memory.peak") // Linux 5.19 and later
	d.Reservation = get.limit("memory", "memory.min")
	d.SwapLimit = get.limit("memory", "memory.swap.max")
	if text, ok := get(control{"memory", "memory.numa_stat"}); ok {
		d.addNuma(text, true)
	}
	d.hugetlbV2(get, sizes)
	d.Devices.readV2(get)
}

// bandwidthV2 reads cpu.max: "max 100000" or "50000 100000".
func (d *Detail) bandwidthV2(get opener) {
	text, ok := get(control{"cpu", "cpu.max"})
	if !ok {
		return
	}
	quota, period, _ := bytes.Cut(bytes.TrimSpace(text), []byte{' '})
	d.Period.N, d.Period.Known = parseDigits(period)
	d.Quota.N, d.Quota.Known = parseDigits(quota)
}

// sharesOfWeight undoes the translation of shares to weights by which the CRI's
// cpu_shares is set: log10(weight) = (l*l + 125*l)/612 - 7/34, where l is
// log2(shares).
func sharesOfWeight(weight uint64) uint64 {
	w := math.Log10(float64(max(weight, 1)))
	l := (math.Sqrt(125*125+4*612*(w+7.0/34)) - 125) / 2
	return min(max(uint64(math.Round(math.Exp2(l))), 2), 262144)
}

func (d *Detail) hugetlbV2(get opener, sizes []string) {
	for _, size := range sizes {
		h := HugetlbStats{Size: size, Usage: get.number("hugetlb", "hugetlb."+size+".current")}
		if !h.Usage.Known {
			continue
		}
		get.pairs("hugetlb", "hugetlb."+size+".events", map[string]*Number{"max": &h.LimitHits})
		d.Hugetlb = append(d.Hugetlb, h)
	}
}

// readV2 reads io.stat: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0".
func (s *IOStats) readV2(get opener) {
	text, ok := get(control{"io", "io.stat"})
	if !ok {
		return
	}
	s.Known = true
	for line := range eachLine(text) {
		name, rest, _ := bytes.Cut(line, []byte{' '})
		major, minor, ok := parseDevice(name)
		if !ok {
			continue
		}
		dev := s.device(major, minor)
		eachSetting(rest, func(key, value []byte) {
			n, ok := parseDigits(value)
			if !ok {
				return
			}
			switch string(key) {
			case "rbytes":
				dev.ReadBytes = n
			case "wbytes":
				dev.WriteBytes = n
			case "rios":
				dev.Reads = n
			case "wios":
				dev.Writes = n
			}
		})
	}
}
