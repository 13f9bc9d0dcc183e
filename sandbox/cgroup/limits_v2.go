package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// planV2 turns a request into writes to v2 control files. The unified map comes
// last: who names a file means it.
func planV2(res *specs.LinuxResources, read current) ([]setting, error) {
	settings, err := planMemoryV2(res.Memory, read)
	if err != nil {
		return nil, err
	}
	settings = append(settings, planPids(res.Pids)...)
	cpu, err := planCPUV2(res.CPU, read)
	if err != nil {
		return nil, err
	}
	settings = append(settings, cpu...)
	settings = append(settings, planHugepages(res.HugepageLimits, ".max")...)
	for _, key := range slices.Sorted(maps.Keys(res.Unified)) {
		s := setting{file: key, value: res.Unified[key]}
		s.controller, _, _ = strings.Cut(key, ".")
		if key == "memory.swap.max" {
			s.optional = s.value == "max" || !hostHasSwap()
		}
		if limit, err := parseUint(s.value); err == nil && key == "memory.max" {
			if err := checkUsage(limit, read); err != nil {
				return nil, err
			}
		}
		settings = append(settings, s)
	}
	return settings, nil
}

// planMemoryV2: memory.max below what is in use makes the kernel kill; ask first.
func planMemoryV2(m *specs.LinuxMemory, read current) ([]setting, error) {
	if m == nil {
		return nil, nil
	}
	var settings []setting
	add := func(file, value string, optional bool) {
		settings = append(settings, setting{"memory", file, value, optional})
	}
	if r := value(m.Reservation); r != 0 {
		add("memory.low", limitOrMax(r), false)
	}
	limit, total := value(m.Limit), value(m.Swap)
	if total != 0 || limit < 0 {
		base, err := swapBase(limit, total, read)
		if err != nil {
			return nil, err
		}
		swap, err := cgroups.ConvertMemorySwapToCgroupV2Value(total, base)
		if err != nil {
			return nil, fmt.Errorf("memory+swap limit %d with memory limit %d: %w: %w", total, base, ErrInvalid, err)
		}
		add("memory.swap.max", limitOrMax(swap), swap < 0 || !hostHasSwap())
	}
	if limit > 0 {
		if err := checkUsage(uint64(limit), read); err != nil {
			return nil, err
		}
	}
	if limit != 0 {
		add("memory.max", limitOrMax(limit), false)
	}
	return settings, nil
}

// swapBase is the memory limit from which a memory+swap limit counts: the one in
// the request, else the one in force.
func swapBase(limit, total int64, read current) (int64, error) {
	if limit != 0 || total <= 0 {
		return max(limit, -1), nil
	}
	text, err := read("memory", "memory.max")
	if err != nil {
		return 0, fmt.Errorf("read memory.max: %w", err)
	}
	if text == "max" {
		return -1, nil
	}
	n, err := parseUint(text)
	return int64(min(n, math.MaxInt64)), err
}

// checkUsage refuses a limit that is lowered below what is in use.
func checkUsage(limit uint64, read current) error {
	if text, err := read("memory", "memory.max"); err == nil {
		if old, err := parseUint(text); err == nil && limit >= old {
			return nil
		}
	}
	text, err := read("memory", "memory.current")
	if errors.Is(err, unix.ENOENT) {
		return nil // no memory controller: the write says so
	}
	if err != nil {
		return fmt.Errorf("read memory.current: %w", err)
	}
	usage, err := parseUint(text)
	if err != nil {
		return err
	}
	if limit < usage {
		return &LimitError{Limit: limit, Usage: usage}
	}
	return nil
}

func planCPUV2(c *specs.LinuxCPU, read current) ([]setting, error) {
	if c == nil {
		return nil, nil
	}
	var settings []setting
	add := func(controller, file, value string) {
		settings = append(settings, setting{controller: controller, file: file, value: value})
	}
	if c.Idle != nil { // before the weight: an idle group takes none
		add("cpu", "cpu.idle", fmt.Sprint(*c.Idle))
	}
	if s := value(c.Shares); s != 0 {
		add("cpu", "cpu.weight", fmt.Sprint(cgroups.ConvertCPUSharesToCgroupV2Value(s)))
	}
	if quota, period := value(c.Quota), value(c.Period); quota != 0 || period != 0 {
		line, err := cpuMax(quota, period, read)
		if err != nil {
			return nil, err
		}
		add("cpu", "cpu.max", line)
	}
	if c.Burst != nil {
		add("cpu", "cpu.max.burst", fmt.Sprint(*c.Burst))
	}
	if c.Cpus != "" {
		add("cpuset", "cpuset.cpus", c.Cpus)
	}
	if c.Mems != "" {
		add("cpuset", "cpuset.mems", c.Mems)
	}
	return settings, nil
}

// cpuMax is the line "quota period"; the half that is not asked for stays.
func cpuMax(quota int64, period uint64, read current) (string, error) {
	now := []string{"max", "100000"}
	text, err := read("cpu", "cpu.max")
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return "", fmt.Errorf("read cpu.max: %w", err)
	}
	if fields := strings.Fields(text); len(fields) == 2 {
		now = fields
	}
	if quota != 0 {
		now[0] = limitOrMax(quota)
	}
	if period != 0 {
		now[1] = fmt.Sprint(period)
	}
	return strings.Join(now, " "), nil
}
