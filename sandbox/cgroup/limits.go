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
// none: on error the old values are written back. careful = the group is in use:
// what has its value is left alone, and restore writes the old values back.
func (g *Group) apply(ctx context.Context, res *specs.LinuxResources, careful bool) (restore func() error, err error) {
	if res == nil {
		return func() error { return nil }, nil
	}
	settings, err := g.plan(res)
	if err != nil {
		return nil, err
	}
	var undo []setting
	for _, s := range settings {
		var old *setting
		if err = ctx.Err(); err == nil {
			old, err = g.replace(s, careful)
		}
		if err != nil {
			return nil, errors.Join(err, g.writeBack(undo))
		}
		if old != nil {
			undo = append(undo, *old)
		}
	}
	if err := g.setDevices(res.Devices); err != nil {
		return nil, errors.Join(err, g.writeBack(undo))
	}
	return func() error { return g.writeBack(undo) }, nil
}

// replace sets one file, and returns what was there before if it was read.
func (g *Group) replace(s setting, careful bool) (old *setting, err error) {
	if careful {
		if d, ok := g.at(s.controller); ok {
			if text, err := d.read(s.file); err == nil {
				old = &setting{controller: s.controller, file: s.file, value: strings.TrimSpace(text)}
			}
		}
	}
	if old != nil && old.value == s.value {
		return nil, nil
	}
	skipped, err := g.set(s)
	if err != nil || skipped {
		return nil, err
	}
	return old, nil
}

// writeBack undoes settings, the last first.
func (g *Group) writeBack(undo []setting) error {
	var errs []error
	for _, s := range slices.Backward(undo) {
		if d, ok := g.at(s.controller); ok {
			errs = append(errs, wrapSetting("restore", s, writeLines(d, s.file, s.value)))
		}
	}
	return errors.Join(errs...)
}

// plan turns a request into what to write.
func (g *Group) plan(res *specs.LinuxResources) ([]setting, error) {
	read := func(controller, file string) (string, error) {
		d, ok := g.at(controller)
		if !ok {
			return "", unix.ENOENT
		}
		text, err := d.read(file)
		return strings.TrimSpace(text), err
	}
	if g.tree.v2 {
		return planV2(res, read)
	}
	return planV1(res, read)
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
		return false, fmt.Errorf("set %s to %q: the host has no such limit: %w", s.file, s.value, ErrUnsupported)
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
// without the controller must not fail each container for it, but one that wants
// pages and cannot be limited to them must. What is reserved is limited apart
// (Linux 5.7): else pages that are mapped and not yet touched would not count.
func planHugepages(limits []specs.LinuxHugepageLimit, suffix string) []setting {
	var settings []setting
	for _, l := range limits {
		value := fmt.Sprint(l.Limit)
		settings = append(settings,
			setting{"hugetlb", "hugetlb." + l.Pagesize + suffix, value, l.Limit == 0},
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
