package sandbox

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// maxPending is how many events wait for one subscriber. A kubelet that falls
// so far behind is better off with a look at everything.
const maxPending = 1024

// Feed hands events to subscribers, to each all of them in their order. It
// waits for nobody: who does not keep up is cut off and told so. The zero value
// has no subscribers.
type Feed struct {
	mu          sync.Mutex // guards the map; a leaf, held for moments
	subscribers map[*Subscription]struct{}
	dropped     atomic.Uint64
}

// Subscription is one listener's part of a Feed.
type Subscription struct {
	feed   *Feed
	events chan Event
	cut    chan struct{} // closed when it is cut off
	lost   int           // valid when cut is closed
}

// Subscribe returns a subscription to what is published from now on.
func (f *Feed) Subscribe() *Subscription {
	s := &Subscription{feed: f, events: make(chan Event, maxPending), cut: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subscribers == nil {
		f.subscribers = map[*Subscription]struct{}{}
	}
	f.subscribers[s] = struct{}{}
	return s
}

// Publish hands an event to every subscriber; it does not wait. Who calls it
// twice at a time has no order to expect.
func (f *Feed) Publish(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subscribers {
		select {
		case s.events <- e:
			continue
		default:
		}
		delete(f.subscribers, s)
		s.lost = len(s.events) + 1
		f.dropped.Add(uint64(s.lost))
		close(s.cut)
	}
}

// Subscribers counts who listens.
func (f *Feed) Subscribers() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subscribers)
}

// Dropped counts the events that subscribers did not get because they had been
// too slow.
func (f *Feed) Dropped() uint64 { return f.dropped.Load() }

// Next waits for the next event. It returns ctx's error when that ends first,
// and Err's when the subscription was cut off.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	select {
	case <-s.cut: // what still waits is not worth a gap that nobody sees
		return Event{}, s.Err()
	default:
	}
	select {
	case e := <-s.events:
		return e, nil
	case <-s.cut:
		return Event{}, s.Err()
	case <-ctx.Done():
		return Event{}, ctx.Err()
	}
}

// Cut is closed when the subscription was cut off.
func (s *Subscription) Cut() <-chan struct{} { return s.cut }

// Err says why the subscription was cut off and how much is lost: an ErrSlow;
// nil while it is not.
func (s *Subscription) Err() error {
	select {
	case <-s.cut:
		return fmt.Errorf("the reader of events was too slow, %d are lost; list everything and subscribe again: %w", s.lost, ErrSlow)
	default:
		return nil
	}
}

// Close ends the subscription. It may be called more than once.
func (s *Subscription) Close() {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	delete(s.feed.subscribers, s)
}
