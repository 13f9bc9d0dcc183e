package sandbox

import (
	"math"
	"testing"

	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

type resources = cri.LinuxContainerResources

// What a request names is laid over what is in force; the rest stays.
func TestMergeResources(t *testing.T) {
	pages := func(limit uint64) []*cri.HugepageLimit {
		return []*cri.HugepageLimit{{PageSize: "2MB", Limit: limit}}
	}
	for name, c := range map[string]struct{ old, set, want *resources }{
		"nothing before":      {nil, &resources{CpuShares: 2}, &resources{CpuShares: 2}},
		"nothing asked":       {&resources{CpuShares: 2}, &resources{}, &resources{CpuShares: 2}},
		"one field":           {&resources{CpuShares: 2, CpuQuota: 3}, &resources{CpuQuota: -1}, &resources{CpuShares: 2, CpuQuota: -1}},
		"lists are replaced":  {&resources{HugepageLimits: pages(1)}, &resources{HugepageLimits: pages(0)}, &resources{HugepageLimits: pages(0)}},
		"lists are kept":      {&resources{HugepageLimits: pages(1)}, &resources{CpuShares: 2}, &resources{HugepageLimits: pages(1), CpuShares: 2}},
		"files are merged":    {&resources{Unified: map[string]string{"a.b": "1", "a.c": "1"}}, &resources{Unified: map[string]string{"a.c": "2"}}, &resources{Unified: map[string]string{"a.b": "1", "a.c": "2"}}},
		"memory alone":        {&resources{MemoryLimitInBytes: 10}, &resources{MemoryLimitInBytes: 30}, &resources{MemoryLimitInBytes: 30}},
		"swap keeps its room": {&resources{MemoryLimitInBytes: 10, MemorySwapLimitInBytes: 15}, &resources{MemoryLimitInBytes: 30}, &resources{MemoryLimitInBytes: 30, MemorySwapLimitInBytes: 35}},
		"no swap stays none":  {&resources{MemoryLimitInBytes: 10, MemorySwapLimitInBytes: 10}, &resources{MemoryLimitInBytes: 5}, &resources{MemoryLimitInBytes: 5, MemorySwapLimitInBytes: 5}},
		"swap without limit":  {&resources{MemoryLimitInBytes: 10, MemorySwapLimitInBytes: -1}, &resources{MemoryLimitInBytes: 5}, &resources{MemoryLimitInBytes: 5, MemorySwapLimitInBytes: -1}},
		"memory lifted":       {&resources{MemoryLimitInBytes: 10, MemorySwapLimitInBytes: 15}, &resources{MemoryLimitInBytes: -1}, &resources{MemoryLimitInBytes: -1, MemorySwapLimitInBytes: -1}},
		"too much to count":   {&resources{MemoryLimitInBytes: 10, MemorySwapLimitInBytes: 15}, &resources{MemoryLimitInBytes: math.MaxInt64}, &resources{MemoryLimitInBytes: math.MaxInt64, MemorySwapLimitInBytes: -1}},
		"both":                {&resources{MemoryLimitInBytes: 10, MemorySwapLimitInBytes: 15}, &resources{MemoryLimitInBytes: 30, MemorySwapLimitInBytes: 60}, &resources{MemoryLimitInBytes: 30, MemorySwapLimitInBytes: 60}},
	} {
		before := proto.Clone(c.old)
		if got := mergeResources(c.old, c.set); !proto.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if c.old != nil && !proto.Equal(before, c.old) {
			t.Errorf("%s: the old one was changed to %v", name, c.old)
		}
	}
}

func TestPodLimitsComeBack(t *testing.T) {
	dir := t.TempDir()
	if l, err := readPodLimits(dir); err != nil || l.overhead != nil || l.resources != nil {
		t.Errorf("without a record: %v, %v", l, err)
	}
	for _, want := range []podLimits{
		{resources: &resources{CpuShares: 3}},
		{overhead: &resources{}, resources: &resources{MemoryLimitInBytes: 9, Unified: map[string]string{"memory.high": "1"}}},
	} {
		if err := recordPodLimits(dir, want); err != nil {
			t.Fatal(err)
		}
		got, err := readPodLimits(dir)
		if err != nil || !proto.Equal(got.resources, want.resources) || !proto.Equal(got.overhead, want.overhead) || (got.overhead == nil) != (want.overhead == nil) {
			t.Errorf("%v, %v; want %v", got, err, want)
		}
	}
}
