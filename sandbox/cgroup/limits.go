package cgroup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// setting is one control file and what to write to it.
type setting struct {
	controller, file, value string
	// optional: the host may lack the file, then the setting is skipped and
	// logged once.
	optional bool
}

// current reads a control file of the group as it is now. It gives the planners
// what they need to know without letting them touch anything.
type current func(controller, file string) (string, error)

// apply sets every limit that res names, in an order that the kernel accepts, or
// none: on error the old values are written back. careful = the group is in use.
func (g *Group) apply(ctx context.Context, res *specs.LinuxResources, careful bool) (err error) {
	if res == nil {
		return nil
	}
	read := func(controller, file string) (string, error) {
		d, ok := g.at(controller)
		if !ok {
			return "", unix.ENOENT
		}
		text, err := d.read(file)
		return strings.TrimSpace(text), err
	}
	plan := planV1
	if g.tree.v2 {
		plan = planV2
	}
	settings, err := plan(res, read)
	if err != nil {
		return err
	}
	var undo []setting
	defer func() {
		if err == nil {
			return
		}
		for _, s := range slices.Backward(undo) {
			if d, ok := g.at(s.controller); ok {
				err = errors.Join(err, wrapSetting("restore", s, writeLines(d, s.file, s.value)))
			}
		}
	}()
	for _, s := range settings {
		if err := ctx.Err(); err != nil {
			return err
		}
		old, readErr := "", error(nil)
		if careful {
			old, readErr = read(s.controller, s.file)
		}
		skipped, err := g.set(s)
		if err != nil {
			return err
		}
		if careful && readErr == nil && !skipped {
			undo = append(undo, setting{controller: s.controller, file: s.file, value: old})
		}
	}
	return g.setDevices(res.Devices)
}

// set writes one control file. A refused memory limit tells both numbers.
func (g *Group) set(s setting) (skipped bool, err error) {
	d, ok := g.at(s.controller)
	if ok {
		err = writeLines(d, s.file, s.value)
	}
	missing := !ok || errors.Is(err, unix.ENOENT)
	switch {
	case missing && s.optional:
		g.tree.warnOnce("cgroup limit left out: the host lacks "+s.file, "value", s.value)
		return true, nil
	case missing:
		return false, fmt.Errorf("set %s to %q: no %s controller here: %w", s.file, s.value, s.controller, ErrUnsupported)
	case errors.Is(err, unix.EBUSY) && s.file == "memory.limit_in_bytes":
		usage, _ := readUint(d, "memory.usage_in_bytes")
		limit, _ := parseUint(s.value)
		return false, &LimitError{Limit: limit, Usage: usage}
	}
	return false, wrapSetting("set", s, err)
}

func wrapSetting(verb string, s setting, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s to %q: %w", verb, s.file, s.value, err)
}

// writeLines writes a value of several lines (io.max) one line at a time, and an
// empty one as a line feed: the kernel does not see a write of no bytes.
func writeLines(d dir, file, value string) error {
	if value == "" {
		return d.write(file, "\n")
	}
	for line := range strings.Lines(value) {
		if err := d.write(file, line); err != nil {
			return err
		}
	}
	return nil
}

// checkResources refuses what would otherwise be dropped without a word, and
// names that would reach other files.
func checkResources(res *specs.LinuxResources) error {
	if res == nil {
		return nil
	}
	refuse := func(what string, set bool) error {
		if set {
			return fmt.Errorf("resource %s: %w", what, ErrUnsupported)
		}
		return nil
	}
	err := errors.Join(
		refuse("network", res.Network != nil && (res.Network.ClassID != nil || len(res.Network.Priorities) > 0)),
		refuse("rdma", len(res.Rdma) > 0),
		refuse("blockIO", res.BlockIO != nil),
	)
	if m := res.Memory; m != nil {
		err = errors.Join(err,
			refuse("memory.kernelTCP", m.KernelTCP != nil && *m.KernelTCP != 0),
			refuse("memory.swappiness", m.Swappiness != nil),
			refuse("memory.disableOOMKiller", m.DisableOOMKiller != nil && *m.DisableOOMKiller))
	}
	if c := res.CPU; c != nil {
		err = errors.Join(err,
			refuse("cpu.realtimeRuntime", c.RealtimeRuntime != nil && *c.RealtimeRuntime != 0),
			refuse("cpu.realtimePeriod", c.RealtimePeriod != nil && *c.RealtimePeriod != 0))
	}
	for _, key := range slices.Sorted(maps.Keys(res.Unified)) {
		controller, _, ok := strings.Cut(key, ".")
		// "cgroup.procs", "cgroup.kill", a path: not limits.
		if !ok || checkName(key) != nil || controller == "cgroup" {
			err = errors.Join(err, fmt.Errorf("unified %q: not a limit: %w", key, ErrInvalid))
		}
	}
	for _, h := range res.HugepageLimits {
		if checkName(h.Pagesize) != nil {
			err = errors.Join(err, fmt.Errorf("huge page size %q: %w", h.Pagesize, ErrInvalid))
		}
	}
	return err
}

// planHugepages: the kubelet sends every page size of the node, mostly 0. A host
// without the controller must not fail each container for it.
func planHugepages(limits []specs.LinuxHugepageLimit, suffix string) []setting {
	var settings []setting
	for _, l := range limits {
		value := fmt.Sprint(l.Limit)
		settings = append(settings,
			setting{"hugetlb", "hugetlb." + l.Pagesize + suffix, value, true},
			setting{"hugetlb", "hugetlb." + l.Pagesize + ".rsvd" + suffix, value, true})
	}
	return settings
}

// planPids: nil and 0 keep, below 0 is no limit.
func planPids(pids *specs.LinuxPids) []setting {
	if pids == nil || pids.Limit == nil || *pids.Limit == 0 {
		return nil
	}
	return []setting{{controller: "pids", file: "pids.max", value: limitOrMax(*pids.Limit)}}
}

// limitOrMax writes a limit as v2 (and the v1 pids controller) spell it.
func limitOrMax(n int64) string {
	if n < 0 {
		return "max"
	}
	return fmt.Sprint(n)
}

// value reads an optional number of a spec; 0 and nil both mean "as it is".
func value[T int64 | uint64](p *T) T {
	if p == nil {
		return 0
	}
	return *p
}

// hostHasSwap: without a swap device there is nothing that "no swap" must forbid.
func hostHasSwap() bool {
	text, err := os.ReadFile("/proc/swaps")
	return err != nil || strings.Count(strings.TrimSpace(string(text)), "\n") > 0
}
