package imagestore

import (
	"context"
	"log/slog"
	"sync"

	"slipway/imagestore/layer"
)

// trash removes trees in the background, one at a time. What it has not got to
// when the store is closed lies where the next Open finds it.
type trash struct {
	base context.Context
	work *sync.WaitGroup
	log  *slog.Logger

	mu    sync.Mutex // guards what follows
	queue []string
	busy  bool
}

func newTrash(base context.Context, work *sync.WaitGroup, log *slog.Logger) *trash {
	return &trash{base: base, work: work, log: log}
}

func (t *trash) add(path string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue = append(t.queue, path)
	if !t.busy && t.base.Err() == nil {
		t.busy = true
		t.work.Go(t.run)
	}
}

func (t *trash) run() {
	for {
		t.mu.Lock()
		if len(t.queue) == 0 || t.base.Err() != nil {
			t.busy = false
			t.mu.Unlock()
			return
		}
		path := t.queue[0]
		t.queue = t.queue[1:]
		t.mu.Unlock()
		if err := layer.Remove(t.base, path); err != nil && t.base.Err() == nil {
			t.log.Warn("remove in the background; the next start tries again", "error", err)
		}
	}
}
