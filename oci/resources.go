package oci

import (
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Resources gives the limits of a CRI request; fields that it leaves at 0 stay
// unset. Without a limit on swap, memory and swap together get the memory's
// limit: no swap, where the host can limit swap at all.
func Resources(r *runtimeapi.LinuxContainerResources, host Host) (*specs.LinuxResources, error) {
	if err := CheckResources(r); err != nil {
		return nil, err
	}
	out := &specs.LinuxResources{}
	cpu := &specs.LinuxCPU{
		Shares: positive(uint64(r.GetCpuShares())),
		Quota:  positive(r.GetCpuQuota()),
		Period: positive(uint64(r.GetCpuPeriod())),
		Cpus:   r.GetCpusetCpus(),
		Mems:   r.GetCpusetMems(),
	}
	if *cpu != (specs.LinuxCPU{}) {
		out.CPU = cpu
	}
	memory := &specs.LinuxMemory{Limit: positive(r.GetMemoryLimitInBytes())}
	if host.SwapLimit {
		memory.Swap = memory.Limit
		if s := r.GetMemorySwapLimitInBytes(); s != 0 {
			memory.Swap = &s
		}
	}
	if memory.Limit != nil || memory.Swap != nil {
		out.Memory = memory
	}
	for _, h := range r.GetHugepageLimits() {
		if !host.Hugetlb {
			if h.GetLimit() > 0 {
				return nil, invalid("hugepage_limits: the host has no hugetlb cgroup controller")
			}
			continue
		}
		out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: h.GetPageSize(), Limit: h.GetLimit()})
	}
	if u := r.GetUnified(); len(u) > 0 {
		out.Unified = make(map[string]string, len(u))
		for k, v := range u {
			out.Unified[k] = v
		}
	}
	return out, nil
}

func positive[T int64 | uint64](v T) *T {
	if v == 0 {
		return nil
	}
	return &v
}

// CheckResources tells whether a request is one that some host could grant.
func CheckResources(r *runtimeapi.LinuxContainerResources) error {
	for _, f := range []struct {
		name string
		v    int64
		min  int64
	}{
		{"cpu_shares", r.GetCpuShares(), 0},
		{"cpu_period", r.GetCpuPeriod(), 0},
		{"cpu_quota", r.GetCpuQuota(), -1},
		{"memory_limit_in_bytes", r.GetMemoryLimitInBytes(), -1},
		{"memory_swap_limit_in_bytes", r.GetMemorySwapLimitInBytes(), -1},
	} {
		if f.v < f.min {
			return invalid("%s: %d", f.name, f.v)
		}
	}
	if a := r.GetOomScoreAdj(); a < -1000 || a > 1000 {
		return invalid("oom_score_adj: %d is not in -1000..1000", a)
	}
	for name, set := range map[string]string{"cpuset_cpus": r.GetCpusetCpus(), "cpuset_mems": r.GetCpusetMems()} {
		if !isSet(set) {
			return invalid("%s: %q is not a list such as 0-3,8", name, set)
		}
	}
	if limit, total := r.GetMemoryLimitInBytes(), r.GetMemorySwapLimitInBytes(); limit > 0 && total > 0 && total < limit {
		return invalid("memory_swap_limit_in_bytes: %d is memory and swap together, and the memory limit alone is %d", total, limit)
	}
	for _, h := range r.GetHugepageLimits() {
		if size := h.GetPageSize(); !isAlphanumericText(size) {
			return invalid("hugepage_limits: page size %q", size)
		}
	}
	return checkUnified(r.GetUnified())
}

// isSet takes a list of numbers and ranges as cpusets have it; "" is none.
func isSet(set string) bool {
	if set == "" {
		return true
	}
	for part := range strings.SplitSeq(set, ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		from, err := strconv.ParseUint(low, 10, 16)
		to, err2 := strconv.ParseUint(high, 10, 16)
		if err != nil || err2 != nil || from > to {
			return false
		}
	}
	return true
}

func isAlphanumericText(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r > 0x7f || !isAlphanumeric(byte(r)) })
}

// checkUnified takes names of files of one cgroup directory: the key becomes a
// file name, so it must not lead elsewhere, nor move processes.
func checkUnified(u map[string]string) error {
	for k, v := range u {
		ok := strings.Contains(k, ".") && !strings.HasPrefix(k, ".") && !strings.HasPrefix(k, "cgroup.") &&
			onlyNameBytes(k) && !strings.Contains(k, "..")
		if !ok {
			return invalid("unified: key %q", k)
		}
		if slices.ContainsFunc([]byte(v), func(c byte) bool { return c < ' ' && c != '\n' || c == 0x7f }) {
			return invalid("unified: value of %q holds a control byte", k)
		}
	}
	return nil
}

// oomScoreAdj gives the request's value, raised to what the runtime may give.
func oomScoreAdj(r *runtimeapi.LinuxContainerResources, host Host) *int {
	if r == nil {
		return nil
	}
	v := int(r.GetOomScoreAdj())
	if host.MinOOMScoreAdj != nil {
		v = max(v, *host.MinOOMScoreAdj)
	}
	return &v
}
