package cgroup

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"slipway/sandbox/cgroup/systemd"
)

// scope tells whether systemd knows this group, and as what.
func (g *Group) scope() (unit, slice string, ok bool) {
	if g.tree.driver.units == nil || g.parent != nil {
		return "", "", false
	}
	return scopeOf(g.path)
}

// register makes the group a scope around a process that sits in it, or moves
// there. The properties say what the files say, so systemd changes nothing now
// and nothing later.
func (g *Group) register(ctx context.Context, pid int) error {
	unit, slice, ok := g.scope()
	if !ok {
		return nil
	}
	release, err := g.use()
	if err != nil {
		return err
	}
	defer release()
	limits, err := g.properties()
	if err != nil {
		return fmt.Errorf("properties of %s: %w", unit, err)
	}
	props := append([]systemd.Property{
		{Name: "Description", Value: "slipway: " + unit},
		{Name: "Slice", Value: slice},
		{Name: "Delegate", Value: true},
		{Name: "DefaultDependencies", Value: false},
		{Name: "CollectMode", Value: "inactive-or-failed"}, // else a scope that failed stays for ever
		{Name: "TimeoutStopUSec", Value: uint64(10_000_000)},
		{Name: "CPUAccounting", Value: true},
		{Name: "MemoryAccounting", Value: true},
		{Name: "TasksAccounting", Value: true},
	}, limits...)
	keep := g.overwritten()
	if err := g.tree.driver.units.StartScope(ctx, unit, pid, props); err != nil {
		return err
	}
	if err := g.keep(keep); err != nil {
		return err
	}
	pids, err := g.pids()
	if err != nil {
		return err
	}
	if !slices.Contains(pids, pid) {
		return fmt.Errorf("systemd has put process %d elsewhere than into cgroup %q: is its root another one? %w", pid, g.path, ErrUnsupported)
	}
	return nil
}

// overwritten reads the files of a v2 group that systemd writes and cannot be told
// the value of exactly: a quota is kept in whole percent, memory.oom.group not at
// all. keep writes them again.
func (g *Group) overwritten() []setting {
	if !g.tree.v2 {
		return nil
	}
	var found []setting
	for _, s := range []setting{
		{controller: "cpu", file: "cpu.max"},
		{controller: "cpu", file: "cpu.idle"},
		{controller: "memory", file: "memory.oom.group"},
	} {
		if s.value = g.text(s.controller, s.file); s.value != "" {
			found = append(found, s)
		}
	}
	return found
}

func (g *Group) keep(settings []setting) error {
	var errs []error
	for _, s := range settings {
		if d, ok := g.at(s.controller); ok && g.text(s.controller, s.file) != s.value {
			errs = append(errs, wrapSetting("keep", s, d.write(s.file, s.value)))
		}
	}
	return errors.Join(errs...)
}

// tellSystemd makes the properties of a registered scope what the files say.
func (g *Group) tellSystemd(ctx context.Context) error {
	unit, _, ok := g.scope()
	if !ok || g.fresh {
		return nil
	}
	props, err := g.properties()
	if err != nil {
		return err
	}
	keep := g.overwritten()
	err = g.tree.driver.units.SetProperties(ctx, unit, props)
	return errors.Join(err, g.keep(keep))
}

// endScope has systemd forget the scope before its directory goes: of one that
// vanished it hears too late or never. Where systemd does not run, or does not
// know it, there is nothing to forget.
func (g *Group) endScope(ctx context.Context) error {
	unit, _, ok := g.scope()
	if !ok || g.alive() != nil {
		return nil // its end was seen: systemd removes the directory
	}
	return g.tree.driver.units.StopUnit(ctx, unit)
}

// properties reads the group's limits.
func (g *Group) properties() ([]systemd.Property, error) {
	read := func(controller, file string) (string, error) {
		d, ok := g.at(controller)
		if !ok {
			return "", unix.ENOENT
		}
		return d.read(file)
	}
	if g.tree.v2 {
		return propertiesV2(read)
	}
	return propertiesV1(read)
}
