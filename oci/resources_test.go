package oci

import (
	"errors"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestCheckResources(t *testing.T) {
	type r = runtimeapi.LinuxContainerResources
	for _, ok := range []*r{
		nil,
		{CpusetCpus: "0", CpusetMems: "0-1,7"},
		{CpusetCpus: "3-3"},
		{MemoryLimitInBytes: 5, MemorySwapLimitInBytes: 5},
		{MemoryLimitInBytes: 5, MemorySwapLimitInBytes: -1},
		{MemorySwapLimitInBytes: 5},
		{MemoryLimitInBytes: -1, MemorySwapLimitInBytes: 5},
	} {
		if err := CheckResources(ok); err != nil {
			t.Errorf("%v: %v", ok, err)
		}
	}
	for _, bad := range []struct {
		r     *r
		field string
	}{
		{&r{CpusetCpus: "1-"}, "cpuset_cpus"},
		{&r{CpusetCpus: ","}, "cpuset_cpus"},
		{&r{CpusetCpus: "2-1"}, "cpuset_cpus"},
		{&r{CpusetCpus: "1\n2"}, "cpuset_cpus"},
		{&r{CpusetCpus: "0-99999999"}, "cpuset_cpus"},
		{&r{CpusetMems: "all"}, "cpuset_mems"},
		{&r{MemoryLimitInBytes: 6, MemorySwapLimitInBytes: 5}, "memory_swap_limit_in_bytes"},
		{&r{OomScoreAdj: 1001}, "oom_score_adj"},
		{&r{Unified: map[string]string{"cgroup.procs": "1"}}, "unified"},
		{&r{Unified: map[string]string{"../memory.max": "1"}}, "unified"},
	} {
		err := CheckResources(bad.r)
		if !errors.Is(err, ErrInvalid) || !strings.HasPrefix(err.Error(), bad.field) {
			t.Errorf("%v: %v, want a refusal of %s", bad.r, err, bad.field)
		}
	}
}

// Without a limit of its own, swap gets the memory's: none, where it can be limited.
func TestSwap(t *testing.T) {
	type r = runtimeapi.LinuxContainerResources
	for _, c := range []struct {
		r    *r
		can  bool
		want int64 // 0 = left alone
	}{
		{&r{MemoryLimitInBytes: 10}, true, 10},
		{&r{MemoryLimitInBytes: 10}, false, 0},
		{&r{MemoryLimitInBytes: 10, MemorySwapLimitInBytes: 15}, true, 15},
		{&r{MemoryLimitInBytes: 10, MemorySwapLimitInBytes: -1}, true, -1},
		{&r{CpuShares: 2}, true, 0},
	} {
		out, err := Resources(c.r, Host{SwapLimit: c.can})
		if err != nil {
			t.Fatal(err)
		}
		var got int64
		if out.Memory != nil && out.Memory.Swap != nil {
			got = *out.Memory.Swap
		}
		if got != c.want {
			t.Errorf("%v, can limit swap %v: %d, want %d", c.r, c.can, got, c.want)
		}
	}
}
