package server

import (
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
)

// What a kernel does not count is absent, not zero.

// cpuUsage leaves the rate out while there is none: the kubelet then computes
// one from the counter.
func cpuUsage(g *sandbox.CgroupStats, cores sandbox.Number) *cri.CpuUsage {
	if !g.CPU.Known {
		return nil
	}
	return &cri.CpuUsage{
		Timestamp:            nanos(g.Time),
		UsageCoreNanoSeconds: value(uint64(g.CPU.Usage)),
		UsageNanoCores:       known(cores),
		Psi:                  psi(g.CPU.Pressure),
	}
}

func memoryUsage(g *sandbox.CgroupStats) *cri.MemoryUsage {
	m := g.Memory
	if !m.Known {
		return nil
	}
	u := &cri.MemoryUsage{
		Timestamp:       nanos(g.Time),
		WorkingSetBytes: value(m.WorkingSet),
		UsageBytes:      value(m.Usage),
		RssBytes:        value(m.RSS),
		PageFaults:      value(m.Faults),
		MajorPageFaults: value(m.MajorFaults),
		Psi:             psi(m.Pressure),
	}
	if m.Limit != 0 {
		u.AvailableBytes = value(m.Available)
	}
	return u
}

func swapUsage(g *sandbox.CgroupStats) *cri.SwapUsage {
	w := g.Swap
	if !w.Known {
		return nil
	}
	u := &cri.SwapUsage{Timestamp: nanos(g.Time), SwapUsageBytes: value(w.Usage)}
	if w.Limited {
		u.SwapAvailableBytes = value(w.Available)
	}
	return u
}

// ioUsage is pressure alone, as the API has it.
func ioUsage(g *sandbox.CgroupStats) *cri.IoUsage {
	if !g.IO.Known {
		return nil
	}
	return &cri.IoUsage{Timestamp: nanos(g.Time), Psi: psi(g.IO)}
}

func psi(p sandbox.Pressure) *cri.PsiStats {
	if !p.Known {
		return nil
	}
	return &cri.PsiStats{Full: psiData(p.Full), Some: psiData(p.Some)}
}

// psiData counts in nanoseconds, as the API has it; the kernel's unit is the
// microsecond.
func psiData(l sandbox.PressureLine) *cri.PsiData {
	return &cri.PsiData{Total: uint64(l.Total), Avg10: l.Avg10, Avg60: l.Avg60, Avg300: l.Avg300}
}

func known(n sandbox.Number) *cri.UInt64Value {
	if !n.Known {
		return nil
	}
	return value(n.N)
}
