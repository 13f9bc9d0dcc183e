package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"slipway/sandbox/cgroup/systemd"
)

// number is a file that holds one number or "max", and the property for it.
type number struct{ controller, file, property string }

// numbersV2 and numbersV1 are all that systemd writes of its own accord and that
// a container's request can change.
var (
	numbersV2 = []number{
		{"memory", "memory.max", "MemoryMax"},
		{"memory", "memory.high", "MemoryHigh"},
		{"memory", "memory.low", "MemoryLow"},
		{"memory", "memory.min", "MemoryMin"},
		{"memory", "memory.swap.max", "MemorySwapMax"},
		{"cpu", "cpu.weight", "CPUWeight"},
	}
	numbersV1 = []number{
		{"memory", "memory.limit_in_bytes", "MemoryLimit"},
		{"cpu", "cpu.shares", "CPUShares"},
	}
)

// propertiesV2 says in systemd's words what the files of a v2 group say.
func propertiesV2(read current) ([]systemd.Property, error) {
	props, err := numberProperties(numbersV2, read)
	if err != nil {
		return nil, err
	}
	text, err := optional(read, "cpu", "cpu.max")
	if err != nil {
		return nil, err
	}
	if quota, period, ok := strings.Cut(text, " "); ok {
		if props, err = addQuota(props, quota, period); err != nil {
			return nil, fmt.Errorf("cpu.max: %w", err)
		}
	}
	for _, set := range []number{{"cpuset", "cpuset.cpus", "AllowedCPUs"}, {"cpuset", "cpuset.mems", "AllowedMemoryNodes"}} {
		text, err := optional(read, set.controller, set.file)
		if err != nil {
			return nil, err
		}
		if text == "" {
			continue // as the level above has it
		}
		mask, err := bitmask(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", set.file, err)
		}
		props = append(props, systemd.Property{Name: set.property, Value: mask})
	}
	return addOther(props, read)
}

// addOther adds what is set only where somebody has asked for it: older versions
// of systemd do not know the names.
func addOther(props []systemd.Property, read current) ([]systemd.Property, error) {
	text, err := optional(read, "memory", "memory.zswap.max")
	if err != nil {
		return nil, err
	}
	if n, err := parseUint(text); err == nil && n != systemd.Infinity {
		props = append(props, systemd.Property{Name: "MemoryZSwapMax", Value: n})
	}
	if text, err = optional(read, "io", "io.weight"); err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(text, "\n")
	if n, err := parseUint(strings.TrimPrefix(first, "default ")); err == nil && n != 100 {
		props = append(props, systemd.Property{Name: "IOWeight", Value: n})
	}
	return props, nil
}

// propertiesV1 does so for v1, where systemd also writes the device rules.
func propertiesV1(read current) ([]systemd.Property, error) {
	props, err := numberProperties(numbersV1, read)
	if err != nil {
		return nil, err
	}
	quota, err := optional(read, "cpu", "cpu.cfs_quota_us")
	if err != nil {
		return nil, err
	}
	period, err := optional(read, "cpu", "cpu.cfs_period_us")
	if err != nil {
		return nil, err
	}
	if quota != "" && period != "" {
		if props, err = addQuota(props, quota, period); err != nil {
			return nil, fmt.Errorf("cpu.cfs_quota_us: %w", err)
		}
	}
	rules, err := optional(read, "devices", "devices.list")
	if err != nil || rules == "" {
		return props, err
	}
	return addDevices(props, rules)
}

// optional reads a file; "" when the host has none.
func optional(read current, controller, file string) (string, error) {
	text, err := read(controller, file)
	if errors.Is(err, unix.ENOENT) {
		return "", nil
	}
	return strings.TrimSpace(text), err
}

// numberProperties adds TasksMax in any case: left out, systemd's own limit for
// services (15 % of what the machine can have) would count.
func numberProperties(list []number, read current) ([]systemd.Property, error) {
	var props []systemd.Property
	for _, n := range append([]number{{"pids", "pids.max", "TasksMax"}}, list...) {
		text, err := optional(read, n.controller, n.file)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", n.file, err)
		}
		if text == "" && n.property == "TasksMax" {
			text = "max"
		}
		if text == "" {
			continue
		}
		v, err := parseUint(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.file, err)
		}
		if v >= unlimited {
			v = systemd.Infinity
		}
		props = append(props, systemd.Property{Name: n.property, Value: v})
	}
	return props, nil
}

// percent of a CPU, in microseconds a second: systemd writes a quota down in
// whole ones, so it is rounded up rather than cut.
const percent = 10_000

func addQuota(props []systemd.Property, quota, period string) ([]systemd.Property, error) {
	p, err := strconv.ParseUint(period, 10, 64)
	if err != nil || p == 0 {
		return nil, fmt.Errorf("period %q: %w", period, ErrInvalid)
	}
	q, err := parseUint(quota)
	if err != nil {
		return nil, err
	}
	second := systemd.Infinity
	if q < unlimited/1_000_000 {
		second = (q*1_000_000/p + percent - 1) / percent * percent
	}
	return append(props,
		systemd.Property{Name: "CPUQuotaPerSecUSec", Value: second},
		systemd.Property{Name: "CPUQuotaPeriodUSec", Value: p}), nil
}

// maxProcessor bounds what a cpuset may name.
const maxProcessor = 1 << 16

// bitmask turns "0-2,8" into a mask, bit 0 of byte 0 first.
func bitmask(set string) ([]byte, error) {
	var mask []byte
	for part := range strings.SplitSeq(set, ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		from, err := strconv.ParseUint(strings.TrimSpace(low), 10, 32)
		to, err2 := strconv.ParseUint(strings.TrimSpace(high), 10, 32)
		if err = errors.Join(err, err2); err != nil || from > to || to > maxProcessor {
			return nil, fmt.Errorf("set %q: %w", set, ErrInvalid)
		}
		for n := from; n <= to; n++ {
			for uint64(len(mask)) <= n/8 {
				mask = append(mask, 0)
			}
			mask[n/8] |= 1 << (n % 8)
		}
	}
	return mask, nil
}
