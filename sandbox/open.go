package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"slipway/sandbox/wire"
)

// Open finds again what runs: it adopts the keeper or starts one, reads the
// records, and undoes what was left half made. One bad record never keeps it
// from opening: it is moved to quarantine and reported.
func Open(ctx context.Context, o Options) (*Pods, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	boot, err := bootID()
	if err != nil {
		return nil, fmt.Errorf("boot id: %w", err)
	}
	p := &Pods{
		o: o, log: o.Log, boot: boot, cdi: newCDI(o.CDIDirs, o.Log),
		pods: map[string]*pod{}, containers: map[string]*container{},
		making: map[string]*making{}, execs: map[string]chan wire.Exit{},
	}
	for _, dir := range []string{p.podsDir(), p.removingDir(), filepath.Join(o.State, "pods"), filepath.Join(o.State, "io")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	ends := &earlyEnds{}
	link, there, err := openLink(ctx, linkOptions{
		State: o.State, Binary: o.KeeperBinary, Log: o.Log, KeeperLog: -1, OnExit: ends.told, OnDetached: p.attached.cut,
	})
	if err != nil {
		return nil, fmt.Errorf("keeper: %w", err)
	}
	p.link = link
	if err := p.recover(ctx, there); err != nil {
		_ = link.close(false)
		return nil, err
	}
	ends.deliver(p.exited)
	p.leftovers.start(p.collect)
	if p.o.Cgroups.OnReload(link.ctx, p.restoreLimits) {
		p.restoreLimits() // what happened before
	}
	return p, nil
}

// KeeperStatus returns nil when the keeper answers.
func (p *Pods) KeeperStatus() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := p.link.ping(ctx); err != nil {
		return fmt.Errorf("keeper: %w", errors.Join(ErrUnavailable, err))
	}
	return nil
}
