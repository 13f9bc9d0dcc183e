package sandbox

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
)

// making is one name (a pod's or container's metadata) and what is being made
// or stands under it. A second request for the name with the same
// configuration joins it; one with another configuration is told who is there.
// Nothing is ever "reserved": a name whose making failed is free at once.
type making struct {
	what   string // for messages: pod sandbox "default/web"
	id     string
	config proto.Message
	since  time.Time
	done   chan struct{} // closed when it is made or has failed
	err    error         // valid after done
	fresh  func() bool   // whether what stands is still as good as new: else the name is taken
}

// make runs fn under a name, or joins the one who does. fn goes on when ctx
// ends, bounded by limit. It returns the id of what was made.
func (p *Pods) make(ctx context.Context, key string, m *making, limit time.Duration, fn func(context.Context) error) (string, error) {
	p.mu.Lock()
	there := p.making[key]
	if there == nil {
		m.since, m.done = time.Now(), make(chan struct{})
		p.making[key] = m
	}
	p.mu.Unlock()

	if there != nil {
		if !proto.Equal(there.config, m.config) {
			return "", fmt.Errorf("%s: %q has this name with another configuration; remove it or use another attempt: %w", m.what, there.id, ErrExists)
		}
		m = there
	} else {
		p.background.Go(func() { p.runMaking(ctx, key, m, limit, fn) })
	}
	select {
	case <-m.done:
		if m.err != nil {
			return "", m.err
		}
		if there != nil && !there.fresh() {
			return "", fmt.Errorf("%s: %q has this name and has been used; remove it or use another attempt: %w", m.what, m.id, ErrExists)
		}
		return m.id, nil
	case <-ctx.Done():
		return "", fmt.Errorf("%s: still being made, since %s; ask again to join: %w", m.what, time.Since(m.since).Round(time.Millisecond), ctx.Err())
	}
}

func (p *Pods) runMaking(ctx context.Context, key string, m *making, limit time.Duration, fn func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	m.err = fn(ctx)
	if m.err != nil {
		p.forget(key, m)
	}
	close(m.done)
}

// made enters a name of something that stands, found at the start.
func (p *Pods) made(key string, m *making) {
	m.done = make(chan struct{})
	close(m.done)
	p.mu.Lock()
	p.making[key] = m
	p.mu.Unlock()
}

// forget frees a name.
func (p *Pods) forget(key string, m *making) {
	p.mu.Lock()
	if p.making[key] == m {
		delete(p.making, key)
	}
	p.mu.Unlock()
}

// freeName frees the name of what had this id.
func (p *Pods) freeName(key, id string) {
	p.mu.Lock()
	if m := p.making[key]; m != nil && m.id == id {
		delete(p.making, key)
	}
	p.mu.Unlock()
}
