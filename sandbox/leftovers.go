package sandbox

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	collectSoon  = time.Second     // after something could not be taken away
	collectEvery = 5 * time.Minute // in any case
)

// collector takes away what was announced and could not be undone: by a crash
// before this start, or by a step of a clean-up that failed meanwhile.
type collector struct {
	nudge chan struct{}
	stop  context.CancelFunc
	work  sync.WaitGroup
}

// start begins to collect: at once, soon after each nudge, with growing pauses
// while it fails, and now and then.
func (c *collector) start(collect func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	c.nudge, c.stop = make(chan struct{}, 1), cancel
	c.work.Go(func() {
		for pause := collectSoon; ; {
			if collect(ctx) == nil {
				pause = collectSoon
				select {
				case <-c.nudge:
				case <-time.After(collectEvery):
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-time.After(pause):
				pause = min(2*pause, collectEvery)
			case <-ctx.Done():
				return
			}
		}
	})
}

// left tells that something is left behind.
func (c *collector) left() {
	select {
	case c.nudge <- struct{}{}:
	default: // it is to look anyway
	}
}

func (c *collector) end() {
	c.stop()
	c.work.Wait()
}

// collect takes away all leftovers that can be.
func (p *Pods) collect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cleanupLimit)
	defer cancel()
	err := p.removeLeftovers(ctx)
	if err != nil {
		p.log.Warn("leftovers; trying again", "error", err)
	}
	return err
}

// removeLeftovers takes away what our own directories hold and no record names.
func (p *Pods) removeLeftovers(ctx context.Context) error {
	var errs []error
	for _, id := range p.o.Images.Containers() {
		if !p.known(id) {
			errs = append(errs, p.o.Images.RemoveRoot(ctx, id))
		}
	}
	errs = append(errs, p.eachUnknown(filepath.Join(p.o.State, "io"), func(id string) error {
		return os.RemoveAll(p.ioDir(id))
	}))
	errs = append(errs, p.eachUnknown(filepath.Join(p.o.State, "pods"), p.removeFiles))
	errs = append(errs, p.finishRemovals(ctx))
	return errors.Join(errs...)
}

func (p *Pods) eachUnknown(dir string, remove func(id string) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if p.known(e.Name()) {
			continue
		}
		errs = append(errs, remove(e.Name()))
	}
	return errors.Join(errs...)
}

// finishRemovals goes on with removals that were cut off.
func (p *Pods) finishRemovals(ctx context.Context) error {
	entries, err := os.ReadDir(p.removingDir())
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		trash := filepath.Join(p.removingDir(), e.Name())
		if path, ok := recordedGroup(trash, e.Name()); ok {
			if err := p.killGroup(ctx, path); err != nil {
				errs = append(errs, err)
				continue
			}
			if err := errors.Join(p.link.drop(ctx, e.Name()), p.o.Images.RemoveRoot(ctx, e.Name()), os.RemoveAll(p.ioDir(e.Name()))); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		errs = append(errs, os.RemoveAll(trash))
	}
	return errors.Join(errs...)
}
