package cgroup

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func p[T any](v T) *T { return &v }

// reader answers from a map; a file that is not in it does not exist.
func reader(files map[string]string) current {
	return func(_, file string) (string, error) {
		text, ok := files[file]
		if !ok {
			return "", unix.ENOENT
		}
		return text, nil
	}
}

// show prints a plan as "file=value", one word a setting.
func show(settings []setting) string {
	var words []string
	for _, s := range settings {
		word := fmt.Sprintf("%s=%s", s.file, s.value)
		if s.optional {
			word += "?"
		}
		words = append(words, word)
	}
	return strings.Join(words, "; ")
}

func TestPlanV1(t *testing.T) {
	const none = "9223372036854771712"
	files := func(limit, total, quota string) map[string]string {
		return map[string]string{"memory.limit_in_bytes": limit, "memory.memsw.limit_in_bytes": total, "cpu.cfs_quota_us": quota}
	}
	memory := func(limit, swap int64) *specs.LinuxResources {
		return &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &swap}}
	}
	tests := []struct {
		name  string
		res   *specs.LinuxResources
		files map[string]string
		want  string
		err   error
	}{
		{"nothing", &specs.LinuxResources{}, nil, "", nil},
		{"zero keeps", &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: p[uint64](0), Quota: p[int64](0)}, Memory: &specs.LinuxMemory{Limit: p[int64](0)}, Pids: &specs.LinuxPids{Limit: p[int64](0)}}, files(none, none, "-1"), "", nil},
		{"first limit without swap: limit, then total", memory(100, 100), files(none, none, "-1"), "memory.limit_in_bytes=100; memory.memsw.limit_in_bytes=100", nil},
		{"raise above the old total: total first", memory(300, 300), files("100", "100", "-1"), "memory.memsw.limit_in_bytes=300; memory.limit_in_bytes=300", nil},
		{"raise below the old total: limit first", memory(150, 300), files("100", "200", "-1"), "memory.limit_in_bytes=150; memory.memsw.limit_in_bytes=300", nil},
		{"lower: limit first", memory(50, 50), files("100", "100", "-1"), "memory.limit_in_bytes=50; memory.memsw.limit_in_bytes=50", nil},
		{"limit alone keeps the allowance of swap", memory(300, 0), files("100", "120", "-1"), "memory.memsw.limit_in_bytes=320; memory.limit_in_bytes=300", nil},
		{"limit alone, swap unlimited", memory(300, 0), files("100", none, "-1"), "memory.limit_in_bytes=300", nil},
		{"lift lifts both", memory(-1, 0), files("100", "100", "-1"), "memory.memsw.limit_in_bytes=-1; memory.limit_in_bytes=-1", nil},
		{"total below limit", memory(100, 50), files(none, none, "-1"), "", ErrInvalid},
		{"no swap accounting, none asked", memory(100, 0), map[string]string{"memory.limit_in_bytes": none}, "memory.limit_in_bytes=100", nil},
		{"no swap accounting, unlimited", memory(100, -1), map[string]string{"memory.limit_in_bytes": none}, "memory.limit_in_bytes=100", nil},
		{"no memory controller", memory(100, 0), nil, "", ErrUnsupported},
		{"quota and period over a limited quota", &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: p[int64](50000), Period: p[uint64](200000)}}, files(none, none, "1000"), "cpu.cfs_quota_us=-1; cpu.cfs_period_us=200000; cpu.cfs_quota_us=50000", nil},
		{"quota and period at first", &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: p[uint64](512), Quota: p[int64](50000), Period: p[uint64](200000), Cpus: "0-1", Mems: "0"}}, files(none, none, "-1"), "cpu.shares=512; cpu.cfs_period_us=200000; cpu.cfs_quota_us=50000; cpuset.cpus=0-1; cpuset.mems=0", nil},
		{"pids and pages", &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: p[int64](-1)}, HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 0}}}, nil, "pids.max=max; hugetlb.2MB.limit_in_bytes=0?; hugetlb.2MB.rsvd.limit_in_bytes=0?", nil},
		{"unified", &specs.LinuxResources{Unified: map[string]string{"memory.high": "1"}}, nil, "", ErrUnsupported},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := planV1(tt.res, reader(tt.files))
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, show(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlanV2(t *testing.T) {
	swapless := ""
	if !hostHasSwap() {
		swapless = "?"
	}
	memory := func(limit, swap int64) *specs.LinuxResources {
		return &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &swap}}
	}
	cpu := func(quota int64, period uint64) *specs.LinuxResources {
		return &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &quota, Period: &period}}
	}
	files := map[string]string{"memory.current": "90", "memory.max": "200", "cpu.max": "20000 100000"}
	tests := []struct {
		name string
		res  *specs.LinuxResources
		want string
		err  error
	}{
		{"nothing", &specs.LinuxResources{}, "", nil},
		{"no swap", memory(100, 100), "memory.swap.max=0" + swapless + "; memory.max=100", nil},
		{"some swap", memory(100, 150), "memory.swap.max=50" + swapless + "; memory.max=100", nil},
		{"any swap", memory(100, -1), "memory.swap.max=max?; memory.max=100", nil},
		{"limit alone", memory(100, 0), "memory.max=100", nil},
		{"total alone counts from the limit in force", memory(0, 250), "memory.swap.max=50" + swapless, nil},
		{"lift lifts both", memory(-1, 0), "memory.swap.max=max?; memory.max=max", nil},
		{"below usage", memory(80, 0), "", ErrBelowUsage},
		{"total below limit", memory(100, 50), "", ErrInvalid},
		{"quota alone", cpu(5000, 0), "cpu.max=5000 100000", nil},
		{"period alone", cpu(0, 50000), "cpu.max=20000 50000", nil},
		{"lift the quota", cpu(-1, 0), "cpu.max=max 100000", nil},
		{"default shares are the default weight", &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: p[uint64](1024)}}, "cpu.weight=100", nil},
		{"smallest shares", &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: p[uint64](2)}}, "cpu.weight=1", nil},
		{"unified last and sorted", &specs.LinuxResources{Unified: map[string]string{"memory.oom.group": "1", "memory.high": "95"}, Pids: &specs.LinuxPids{Limit: p[int64](7)}}, "pids.max=7; memory.high=95; memory.oom.group=1", nil},
		{"unified memory.max below usage", &specs.LinuxResources{Unified: map[string]string{"memory.max": "10"}}, "", ErrBelowUsage},
		{"pages", &specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "1GB", Limit: 5}}}, "hugetlb.1GB.max=5; hugetlb.1GB.rsvd.max=5?", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := planV2(tt.res, reader(files))
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, show(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlanNamesBothNumbers(t *testing.T) {
	_, err := planV2(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: p[int64](10)}}, reader(map[string]string{"memory.current": "4096"}))
	var below *LimitError
	if !errors.As(err, &below) || below.Limit != 10 || below.Usage != 4096 {
		t.Fatalf("got %v", err)
	}
}

func TestCheckResources(t *testing.T) {
	tests := []struct {
		name string
		res  specs.LinuxResources
		want error
	}{
		{"limits", specs.LinuxResources{Unified: map[string]string{"memory.high": "1", "io.max": "8:0 rbps=1"}}, nil},
		{"moves processes", specs.LinuxResources{Unified: map[string]string{"cgroup.procs": "0"}}, ErrInvalid},
		{"another directory", specs.LinuxResources{Unified: map[string]string{"../x/memory.max": "0"}}, ErrInvalid},
		{"no controller", specs.LinuxResources{Unified: map[string]string{"tasks": "0"}}, ErrInvalid},
		{"page size with a path", specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "../2MB"}}}, ErrInvalid},
		{"block weight", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{}}, ErrUnsupported},
		{"real time", specs.LinuxResources{CPU: &specs.LinuxCPU{RealtimeRuntime: p[int64](5)}}, ErrUnsupported},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := checkResources(&tt.res); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}
