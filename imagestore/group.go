package imagestore

import (
	"context"
	"sync"
	"time"
)

// linger is how long the last who gives up waits for the work to be undone, so
// that a cancelled pull has left nothing when its error is returned.
const linger = 500 * time.Millisecond

// group runs equal work once for all who want it at the same time. The work
// goes on while anybody waits for it and is cancelled when nobody does.
type group[T any] struct {
	base context.Context
	work *sync.WaitGroup
	drop func(T) // undoes what the value stands for, when all have had it; or nil

	mu      sync.Mutex // guards running and every flight's waiters
	running map[string]*flight[T]
}

type flight[T any] struct {
	done    chan struct{}
	value   T     // valid when done is closed
	err     error // likewise
	waiters int
	cancel  context.CancelFunc
}

func newGroup[T any](base context.Context, work *sync.WaitGroup, drop func(T)) *group[T] {
	return &group[T]{base: base, work: work, drop: drop, running: map[string]*flight[T]{}}
}

// do returns what fn returned, for whoever it was started. use is called with
// the value while it still stands. joined says that the work was another's.
func (g *group[T]) do(ctx context.Context, key string, fn func(context.Context) (T, error), use func(T)) (joined bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	f, joined := g.enter(key, fn)
	defer g.leave(key, f)
	select {
	case <-f.done:
		if f.err == nil {
			use(f.value)
		}
		return joined, f.err
	case <-ctx.Done():
		return joined, ctx.Err()
	}
}

func (g *group[T]) enter(key string, fn func(context.Context) (T, error)) (f *flight[T], joined bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.running[key]; f != nil {
		f.waiters++
		return f, true
	}
	ctx, cancel := context.WithCancel(g.base)
	f = &flight[T]{done: make(chan struct{}), waiters: 1, cancel: cancel}
	g.running[key] = f
	g.work.Go(func() {
		defer cancel()
		value, err := fn(ctx)
		g.mu.Lock()
		f.value, f.err = value, err
		if g.running[key] == f {
			delete(g.running, key)
		}
		abandoned := f.waiters == 0
		close(f.done)
		g.mu.Unlock()
		if abandoned {
			g.undo(f)
		}
	})
	return f, false
}

func (g *group[T]) leave(key string, f *flight[T]) {
	g.mu.Lock()
	f.waiters--
	last := f.waiters == 0
	finished := false
	select {
	case <-f.done:
		finished = true
	default:
	}
	if last && g.running[key] == f {
		delete(g.running, key) // who comes now starts anew
	}
	g.mu.Unlock()
	switch {
	case !last:
	case finished:
		g.undo(f)
	default:
		f.cancel()
		t := time.NewTimer(linger)
		defer t.Stop()
		select {
		case <-f.done:
		case <-t.C:
		}
	}
}

func (g *group[T]) undo(f *flight[T]) {
	if f.err == nil && g.drop != nil {
		g.drop(f.value)
	}
}
