package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// planV1 turns a request into writes to v1 control files, in an order that the
// kernel accepts from the state that read shows.
func planV1(res *specs.LinuxResources, read current) ([]setting, error) {
	if err := checkUnifiedV1(res.Unified); err != nil {
		return nil, err
	}
	settings, err := planMemoryV1(res.Memory, read)
	if err != nil {
		return nil, err
	}
	settings = append(settings, planPids(res.Pids)...)
	cpu, err := planCPUV1(res.CPU, read)
	if err != nil {
		return nil, err
	}
	settings = append(settings, cpu...)
	return append(settings, planHugepages(res.HugepageLimits, ".limit_in_bytes")...), nil
}

// unlimited is how v1 shows "no limit": the largest multiple of a page.
const unlimited = math.MaxInt64 &^ 0xffff

// planMemoryV1: the kernel holds limit <= memory+swap limit at every moment, so
// the order depends on the direction. When only the memory limit moves, the
// allowance of swap above it stays what it was, as on v2.
func planMemoryV1(m *specs.LinuxMemory, read current) ([]setting, error) {
	if m == nil {
		return nil, nil
	}
	var settings []setting
	if r := value(m.Reservation); r != 0 {
		settings = append(settings, setting{controller: "memory", file: "memory.soft_limit_in_bytes", value: fmt.Sprint(max(r, -1))})
	}
	limit, total := value(m.Limit), value(m.Swap)
	if limit == 0 && total == 0 {
		return settings, nil
	}
	oldLimit, err := readMemory(read, "memory.limit_in_bytes")
	if err != nil {
		return nil, err
	}
	oldTotal, err := readMemory(read, "memory.memsw.limit_in_bytes")
	if errors.Is(err, ErrUnsupported) { // no swap accounting in this kernel
		if total > 0 && hostHasSwap() {
			return nil, fmt.Errorf("memory+swap limit %d: the kernel does not count swap: %w", total, ErrUnsupported)
		}
		return append(settings, memoryV1(limit)...), nil
	}
	if err != nil {
		return nil, err
	}
	newLimit, newTotal := oldLimit, oldTotal
	if limit != 0 {
		newLimit = bytesOf(limit)
	}
	switch {
	case total != 0:
		newTotal = bytesOf(total)
	case newLimit == math.MaxInt64 || oldTotal >= unlimited:
		newTotal = math.MaxInt64
	default:
		newTotal = newLimit + (oldTotal - oldLimit)
	}
	if newTotal < newLimit {
		return nil, fmt.Errorf("memory+swap limit %d below the memory limit %d: %w", newTotal, newLimit, ErrInvalid)
	}
	swap := memorySwapV1(newTotal, oldTotal)
	if newLimit > oldTotal {
		return append(append(settings, swap...), memoryV1(limit)...), nil
	}
	return append(append(settings, memoryV1(limit)...), swap...), nil
}

func memoryV1(limit int64) []setting {
	if limit == 0 {
		return nil
	}
	return []setting{{controller: "memory", file: "memory.limit_in_bytes", value: fmt.Sprint(max(limit, -1))}}
}

func memorySwapV1(total, old int64) []setting {
	switch {
	case total == old, total >= unlimited && old >= unlimited:
		return nil
	case total >= unlimited:
		total = -1
	}
	return []setting{{controller: "memory", file: "memory.memsw.limit_in_bytes", value: fmt.Sprint(total)}}
}

func readMemory(read current, file string) (int64, error) {
	text, err := read("memory", file)
	if errors.Is(err, unix.ENOENT) {
		return 0, fmt.Errorf("read %s: %w", file, ErrUnsupported)
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", file, err)
	}
	n, err := parseUint(text)
	return int64(min(n, math.MaxInt64)), err
}

// bytesOf maps "no limit" (below 0) to the largest number, for comparing.
func bytesOf(n int64) int64 {
	if n < 0 {
		return math.MaxInt64
	}
	return n
}

// planCPUV1: the kernel compares quota/period with the parent's at each write; a
// quota lifted first lets period and quota change together in either direction.
func planCPUV1(c *specs.LinuxCPU, read current) ([]setting, error) {
	if c == nil {
		return nil, nil
	}
	var settings []setting
	add := func(controller, file, value string) {
		settings = append(settings, setting{controller: controller, file: file, value: value})
	}
	if s := value(c.Shares); s != 0 {
		add("cpu", "cpu.shares", fmt.Sprint(s))
	}
	quota, period := value(c.Quota), value(c.Period)
	if quota != 0 && period != 0 {
		old, err := read("cpu", "cpu.cfs_quota_us")
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("read cpu.cfs_quota_us: %w", err)
		}
		if err == nil && old != "-1" && !inForce(read, old, quota, period) {
			add("cpu", "cpu.cfs_quota_us", "-1")
		}
	}
	if period != 0 {
		add("cpu", "cpu.cfs_period_us", fmt.Sprint(period))
	}
	if quota != 0 {
		add("cpu", "cpu.cfs_quota_us", fmt.Sprint(max(quota, -1)))
	}
	if c.Burst != nil {
		add("cpu", "cpu.cfs_burst_us", fmt.Sprint(*c.Burst))
	}
	if c.Idle != nil {
		add("cpu", "cpu.idle", fmt.Sprint(*c.Idle))
	}
	if c.Cpus != "" {
		add("cpuset", "cpuset.cpus", c.Cpus)
	}
	if c.Mems != "" {
		add("cpuset", "cpuset.mems", c.Mems)
	}
	return settings, nil
}

// inForce tells whether a quota, as read, and a period are what the group has.
func inForce(read current, oldQuota string, quota int64, period uint64) bool {
	oldPeriod, err := read("cpu", "cpu.cfs_period_us")
	return err == nil && oldQuota == fmt.Sprint(max(quota, -1)) && oldPeriod == fmt.Sprint(period)
}

func checkUnifiedV1(unified map[string]string) error {
	if len(unified) == 0 {
		return nil
	}
	key := slices.Sorted(maps.Keys(unified))[0]
	return fmt.Errorf("unified %q: this host has cgroup v1, and only v2 has such files: %w", key, ErrUnsupported)
}
