package sandbox

import (
	"context"
	"errors"
	"fmt"
	"math"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/oci"
	"slipway/sandbox/cgroup"
	"slipway/sandbox/linux"
)

// UpdateResources changes the limits of a container that is created or runs.
// Fields that are not set stay as they are; the result is in the next status.
//
// Errors: ErrNotFound, ErrState (it has ended), ErrInvalid, and what the kernel
// refused, with the old limits kept.
func (p *Pods) UpdateResources(ctx context.Context, id string, r *cri.LinuxContainerResources) error {
	c, err := p.container(id)
	if err != nil {
		return err
	}
	c.pod.op.RLock()
	defer c.pod.op.RUnlock()
	c.op.Lock()
	defer c.op.Unlock()
	if err := p.updateResources(ctx, c, r); err != nil {
		return fmt.Errorf("update resources of %s: %w", c.name(), err)
	}
	return nil
}

// updateResources lays the request over the one in force and applies the whole:
// what a request leaves out can depend on what it names, as memory and swap do.
// The record is put in place last, and when it cannot be, the cgroup has its old
// limits back.
func (p *Pods) updateResources(ctx context.Context, c *container, r *cri.LinuxContainerResources) error {
	snap := c.snapshot.Load()
	if c.gone {
		return ErrNotFound
	}
	if snap.State == Exited {
		return fmt.Errorf("it has ended: %w", ErrState)
	}
	if _, err := p.limits(r); err != nil { // named as the request has it
		return err
	}
	merged := mergeResources(snap.Resources, r)
	limits, err := p.limits(merged)
	if err != nil {
		return err
	}
	text, err := encodeMessage(merged)
	if err != nil {
		return err
	}
	record := func() error {
		return writeRecord(c.dir, resourcesFile, resourcesRecord{Version: formatVersion, Resources: text})
	}
	if snap.State == Running {
		err = p.change(ctx, c, limits, record)
	} else {
		err = record() // applied by the start
	}
	if err != nil {
		return err
	}
	c.resources = merged
	p.changeContainer(c, func(snap *Container) { snap.Resources = merged })
	return nil
}

// change sets limits of a running container; commit is the last step of it.
func (p *Pods) change(ctx context.Context, c *container, limits *specs.LinuxResources, commit func() error) error {
	g, err := p.group(c)
	if errors.Is(err, cgroup.ErrNotFound) {
		return fmt.Errorf("it has just ended: %w: %w", ErrState, err)
	}
	if err != nil {
		return err
	}
	defer g.Close()
	return limitError(g.Change(ctx, limits, commit))
}

// limits gives the limits of a request as cgroups have them.
func (p *Pods) limits(r *cri.LinuxContainerResources) (*specs.LinuxResources, error) {
	limits, err := oci.Resources(r, p.o.Host)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return limits, limitError(p.o.Cgroups.Check(limits))
}

// limitError says what of a cgroup's errors is the request's fault. The kernel
// says ERANGE of a processor that it could never have.
func limitError(err error) error {
	for _, theirs := range []error{cgroup.ErrInvalid, cgroup.ErrUnsupported, syscall.EINVAL, syscall.ERANGE} {
		if errors.Is(err, theirs) {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	return err
}

// mergeResources lays the fields that are set over the old ones.
func mergeResources(old, set *cri.LinuxContainerResources) *cri.LinuxContainerResources {
	merged := &cri.LinuxContainerResources{}
	if old != nil {
		merged = proto.Clone(old).(*cri.LinuxContainerResources)
	}
	if len(set.GetHugepageLimits()) > 0 {
		merged.HugepageLimits = nil // a list is replaced, not added to
	}
	proto.Merge(merged, set)
	if set.GetMemoryLimitInBytes() != 0 && set.GetMemorySwapLimitInBytes() == 0 {
		merged.MemorySwapLimitInBytes = movedSwap(old, set.GetMemoryLimitInBytes())
	}
	return merged
}

// movedSwap is the limit of memory and swap together when only that of memory
// moves: how much may be swapped stays as it was. 0 is none of its own.
func movedSwap(old *cri.LinuxContainerResources, limit int64) int64 {
	total, before := old.GetMemorySwapLimitInBytes(), old.GetMemoryLimitInBytes()
	switch {
	case total <= 0 || before <= 0:
		return total
	case limit < 0 || limit > math.MaxInt64-(total-before):
		return -1
	}
	return limit + total - before
}

// ReopenLog goes on in a new file at the container's log path: whoever rotates
// has renamed the old one. No line is lost or split.
//
// Errors: ErrNotFound, ErrState (it does not run; no file is made then).
func (p *Pods) ReopenLog(ctx context.Context, id string) error {
	c, err := p.container(id)
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	if err := p.reopenLog(ctx, c); err != nil {
		return fmt.Errorf("reopen log of %s: %w", c.name(), err)
	}
	return nil
}

func (p *Pods) reopenLog(ctx context.Context, c *container) error {
	if c.process == nil {
		return fmt.Errorf("it does not run: %w", ErrState)
	}
	if c.record.LogPath == "" {
		return nil
	}
	fd, err := linux.OpenLog(c.record.LogPath)
	if err != nil {
		return err
	}
	defer linux.Close(fd)
	err = p.link.reopen(ctx, c.id, fd)
	if errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("it has just ended: %w", ErrState)
	}
	return err
}
