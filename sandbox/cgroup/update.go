package cgroup

import (
	"context"
	"errors"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Update changes the limits that res names. What is nil, 0 or "" stays as it is;
// below 0 lifts a limit. All or nothing: on error the old values are in force
// again. A memory limit below what is in use is a LimitError; on v1 the kernel
// first tries to push pages out, on v2 usage is compared as it is.
//
// The caller serializes updates of one group.
func (g *Group) Update(ctx context.Context, res *specs.LinuxResources) error {
	return g.Change(ctx, res, func() error { return nil })
}

// Change is Update with a last step: when commit fails, the old limits are in
// force again.
func (g *Group) Change(ctx context.Context, res *specs.LinuxResources, commit func() error) error {
	if g.parent != nil {
		return fmt.Errorf("update cgroup %q: a child has its parent's limits: %w", g.path, ErrUnsupported)
	}
	release, err := g.use()
	if err != nil {
		return err
	}
	defer release()
	if err := checkResources(res); err != nil {
		return fmt.Errorf("update cgroup %q: %w", g.path, err)
	}
	restore, err := g.apply(ctx, res, true)
	if err != nil {
		return fmt.Errorf("update cgroup %q: %w", g.path, err)
	}
	if err := g.tellSystemd(ctx); err != nil {
		return fmt.Errorf("update cgroup %q: %w", g.path, errors.Join(err, restore()))
	}
	if err = commit(); err == nil {
		return nil
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.tree.patience)
	defer cancel()
	return fmt.Errorf("update cgroup %q: %w", g.path, errors.Join(err, restore(), g.tellSystemd(undo)))
}

// Check refuses what no group of this tree could ever take, whatever is in it.
func (t *Tree) Check(res *specs.LinuxResources) error {
	if err := checkResources(res); err != nil {
		return err
	}
	if t.v2 || res == nil {
		return nil
	}
	return checkUnifiedV1(res.Unified)
}

// Enforce writes limits that are in force by the records: systemd may have
// written others. It is told nothing.
func (g *Group) Enforce(ctx context.Context, res *specs.LinuxResources) error {
	release, err := g.use()
	if err != nil {
		return err
	}
	defer release()
	if err = checkResources(res); err == nil {
		_, err = g.apply(ctx, res, true)
	}
	if err != nil {
		return fmt.Errorf("enforce limits of cgroup %q: %w", g.path, err)
	}
	return nil
}

// Limits reads the limits in force back into the form of a request, for showing
// and for tests. No limit is -1. On v2, shares cannot be told from the weight they
// became: Unified holds "cpu.weight" instead. Missing controllers leave nil.
func (g *Group) Limits() (*specs.LinuxResources, error) {
	release, err := g.use()
	if err != nil {
		return nil, err
	}
	defer release()
	if err := g.alive(); err != nil {
		return nil, err
	}
	if g.tree.v2 {
		return g.limitsV2(), nil
	}
	return g.limitsV1(), nil
}
