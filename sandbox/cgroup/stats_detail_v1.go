package cgroup

import "bytes"

func (d *Detail) readV1(get opener, sizes []string) {
	d.User = get.number("cpuacct", "cpuacct.usage_user")
	d.System = get.number("cpuacct", "cpuacct.usage_sys")
	get.pairs("cpu", "cpu.stat", map[string]*Number{
		"nr_periods": &d.Periods, "nr_throttled": &d.ThrottledPeriods, "throttled_time": &d.Throttled,
		"nr_bursts": &d.Bursts, "burst_time": &d.Burst,
	})
	d.Shares = get.number("cpu", "cpu.shares")
	d.Period = get.number("cpu", "cpu.cfs_period_us")
	if d.Quota = get.number("cpu", "cpu.cfs_quota_us"); d.Quota.N >= unlimited {
		d.Quota = Number{}
	}
	d.Migrate = get.number("cpuset", "cpuset.memory_migrate")
	d.memoryV1(get)
	d.hugetlbV1(get, sizes)
	d.Devices.readV1(get)
}

func (d *Detail) memoryV1(get opener) {
	get.pairs("memory", "memory.stat", map[string]*Number{"pgfault": &d.OwnFaults, "pgmajfault": &d.OwnMajorFaults})
	d.Memory.Kernel = get.number("memory", "memory.kmem.usage_in_bytes")
	d.MaxUsage = get.number("memory", "memory.max_usage_in_bytes")
	d.LimitHits = get.number("memory", "memory.failcnt")
	d.Reservation = get.limit("memory", "memory.soft_limit_in_bytes")
	d.SwapLimit = get.limit("memory", "memory.memsw.limit_in_bytes")
	get.pairs("memory", "memory.oom_control", map[string]*Number{"oom_kill": &d.OOMKills})
	if text, ok := get(control{"memory", "memory.numa_stat"}); ok {
		d.addNuma(text, false)
	}
}

func (d *Detail) hugetlbV1(get opener, sizes []string) {
	for _, size := range sizes {
		h := HugetlbStats{
			Size:      size,
			Usage:     get.number("hugetlb", "hugetlb."+size+".usage_in_bytes"),
			Max:       get.number("hugetlb", "hugetlb."+size+".max_usage_in_bytes"),
			LimitHits: get.number("hugetlb", "hugetlb."+size+".failcnt"),
		}
		if h.Usage.Known {
			d.Hugetlb = append(d.Hugetlb, h)
		}
	}
}

// readV1 reads what the throttling layer counts, which every I/O scheduler has.
// The _recursive files include groups below.
func (s *IOStats) readV1(get opener) {
	text, ok := get(control{"blkio", "blkio.throttle.io_service_bytes_recursive"})
	if !ok {
		return
	}
	s.Known = true
	s.addV1(text, func(d *IODevice) (read, write *uint64) { return &d.ReadBytes, &d.WriteBytes })
	if text, ok = get(control{"blkio", "blkio.throttle.io_serviced_recursive"}); ok {
		s.addV1(text, func(d *IODevice) (read, write *uint64) { return &d.Reads, &d.Writes })
	}
}

// addV1 reads lines "8:0 Read 4096".
func (s *IOStats) addV1(text []byte, counters func(*IODevice) (read, write *uint64)) {
	for line := range eachLine(text) {
		name, rest, _ := bytes.Cut(line, []byte{' '})
		kind, number, _ := bytes.Cut(rest, []byte{' '})
		major, minor, ok := parseDevice(name)
		n, fine := parseDigits(number)
		if !ok || !fine {
			continue // "Total 0"
		}
		read, write := counters(s.device(major, minor))
		switch string(kind) {
		case "Read":
			*read = n
		case "Write":
			*write = n
		}
	}
}
