package cgroup

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Detail is all that a group can tell, for metrics.
type Detail struct {
	Stats

	User, System     Number // processor time, in nanoseconds
	Periods          Number // scheduling periods that have passed under a quota
	ThrottledPeriods Number
	Throttled        Number // in nanoseconds
	Bursts           Number // periods in which the quota was exceeded
	Burst            Number // in nanoseconds
	Shares           Number // as the CRI counts them; of v2 the weight's equal
	Quota, Period    Number // in microseconds; no Quota: none

	OwnFaults      Number // of the group without those below it; v1 only
	OwnMajorFaults Number
	MaxUsage       Number // the most memory that was used at one time
	LimitHits      Number // how often the memory limit was reached
	OOMKills       Number // processes killed for memory
	Reservation    Number // bytes that are kept for it; 0: none
	SwapLimit      Number // v1: of memory and swap together; 0: none
	Migrate        Number // 1: pages follow a change of the allowed nodes; v1 only
	Numa           []NumaPages
	Hugetlb        []HugetlbStats

	Threads, MaxThreads Number // MaxThreads 0: no limit
	Devices             IOStats
}

// NumaPages counts the pages of one type on one NUMA node.
type NumaPages struct {
	Type      string // "file", "anon", "unevictable"
	Node      uint64
	Hierarchy bool // with the groups below
	Pages     uint64
}

// HugetlbStats counts huge pages of one size, such as "2MB".
type HugetlbStats struct {
	Size       string
	Usage, Max Number // bytes; Max is v1's only
	LimitHits  Number
}

// IOStats has one entry for each block device that was used.
type IOStats struct {
	Known   bool
	Devices []IODevice
}

// IODevice counts bytes and requests since the group was made.
type IODevice struct {
	Major, Minor          uint64
	ReadBytes, WriteBytes uint64
	Reads, Writes         uint64
}

// opener returns what is in a control file; false: unreadable, or there is no
// such file. It is valid until the next call.
type opener func(c control) ([]byte, bool)

// number reads a file that holds one number.
func (get opener) number(controller, file string) Number {
	text, ok := get(control{controller, file})
	if !ok {
		return Number{}
	}
	n, ok := parseNumber(text)
	return Number{n, ok}
}

// limit is number where nothing, and more than any machine has, is 0.
func (get opener) limit(controller, file string) Number {
	n := get.number(controller, file)
	if n.N >= unlimited {
		n.N = 0
	}
	return n
}

// pairs reads the wanted lines of a flat keyed file.
func (get opener) pairs(controller, file string, want map[string]*Number) {
	text, ok := get(control{controller, file})
	if !ok {
		return
	}
	eachPair(text, func(key []byte, n uint64) {
		if into := want[string(key)]; into != nil {
			*into = Number{n, true}
		}
	})
}

// Detail reads all that the group can tell. Unlike Stats it opens most files for
// the reading. ErrNotFound when the group is gone.
func (m *Meter) Detail() (Detail, error) {
	if err := m.use(); err != nil {
		return Detail{}, err
	}
	defer m.release()
	s, err := m.stats()
	if err != nil {
		return Detail{}, err
	}
	d := Detail{Stats: s}
	buf := make([]byte, 4096)
	d.read(func(c control) ([]byte, bool) {
		n, err := m.tree.readControl(m.path, c, &buf)
		return buf[:n], err == nil
	}, m.tree.v2, hugePageSizes())
	return d, nil
}

func (d *Detail) read(get opener, v2 bool, sizes []string) {
	if v2 {
		d.readV2(get, sizes)
	} else {
		d.readV1(get, sizes)
	}
	d.Threads = get.number("pids", "pids.current")
	d.MaxThreads = get.limit("pids", "pids.max")
}

// scale turns microseconds that were read into nanoseconds.
func (n *Number) scale(unit time.Duration) { n.N *= uint64(unit) }

// hugePageSizes are the host's, as the files of the hugetlb controller spell them.
func hugePageSizes() (sizes []string) {
	all, err := os.ReadDir("/sys/kernel/mm/hugepages")
	if err != nil {
		return nil
	}
	for _, e := range all {
		kib, ok := parseDigits([]byte(strings.TrimSuffix(strings.TrimPrefix(e.Name(), "hugepages-"), "kB")))
		switch {
		case !ok:
		case kib >= 1<<20:
			sizes = append(sizes, fmt.Sprintf("%dGB", kib>>20))
		case kib >= 1<<10:
			sizes = append(sizes, fmt.Sprintf("%dMB", kib>>10))
		default:
			sizes = append(sizes, fmt.Sprintf("%dKB", kib))
		}
	}
	return sizes
}

// parseDevice reads "MAJOR:MINOR".
func parseDevice(text []byte) (major, minor uint64, ok bool) {
	first, second, _ := bytes.Cut(text, []byte{':'})
	major, ok1 := parseDigits(first)
	minor, ok2 := parseDigits(second)
	return major, minor, ok1 && ok2
}

// addNuma reads the lines of memory.numa_stat that have a wanted type:
// "anon=20 N0=10 N1=10" on v1, "anon N0=40960 N1=40960" on v2.
func (d *Detail) addNuma(text []byte, v2 bool) {
	unit := uint64(1)
	if v2 {
		unit = uint64(os.Getpagesize()) // v2 counts bytes
	}
	for line := range eachLine(text) {
		head, rest, _ := bytes.Cut(line, []byte{' '})
		name, _, _ := bytes.Cut(head, []byte{'='})
		kind, whole := bytes.CutPrefix(name, []byte("hierarchical_"))
		switch string(kind) {
		case "file", "anon", "unevictable":
		default:
			continue
		}
		eachSetting(rest, func(key, value []byte) {
			node, ok := parseDigits(bytes.TrimPrefix(key, []byte{'N'}))
			n, fine := parseDigits(value)
			if ok && fine && len(key) > 0 && key[0] == 'N' {
				d.Numa = append(d.Numa, NumaPages{Type: string(kind), Node: node, Hierarchy: whole || v2, Pages: n / unit})
			}
		})
	}
}

// device returns the entry of a device, a new one if there is none.
func (s *IOStats) device(major, minor uint64) *IODevice {
	i := slices.IndexFunc(s.Devices, func(d IODevice) bool { return d.Major == major && d.Minor == minor })
	if i < 0 {
		i = len(s.Devices)
		s.Devices = append(s.Devices, IODevice{Major: major, Minor: minor})
	}
	return &s.Devices[i]
}
