package sandbox

import (
	"slices"
	"time"
)

// EventKind says what has become of a pod sandbox or a container.
type EventKind int

// The kinds of events, in the order in which one object has them; a container
// that is never started goes from Created to Stopped or Deleted.
const (
	EventCreated EventKind = iota
	EventStarted
	EventStopped
	EventDeleted
)

// View is a pod sandbox and its containers as they were together at one moment.
type View struct {
	Pod        *Pod
	Containers []*Container // oldest first
	// At orders views: of two of a pod, the one with the later At shows the
	// later state, whatever the clock of the host did in between.
	At time.Time
}

// Event tells of one change, with what there was right after it. A pod's own
// events carry its id; a deleted object is shown no more, but for the pod of
// its own last event.
type Event struct {
	Kind EventKind
	ID   string // of the container, or of the pod itself
	View
}

// Subscribe returns a subscription to all changes from now on; its owner closes
// it.
func (p *Pods) Subscribe() *Subscription { return p.feed.Subscribe() }

// View returns the pod sandbox with this id, or the only one whose id begins
// so, and its containers. Whoever has heard an event sees at least what it told.
// Errors: ErrNotFound, ErrInvalid (no id, or several begin so).
func (p *Pods) View(id string) (View, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	s, err := find(p.pods, "pod sandbox", id)
	if err != nil {
		return View{}, err
	}
	return p.view(s), nil
}

// view is what is visible of a pod; p.mu is held.
func (p *Pods) view(s *pod) View {
	v := View{Pod: s.snapshot.Load(), At: p.stamp()}
	for _, c := range p.containers {
		if c.pod == s {
			v.Containers = append(v.Containers, c.snapshot.Load())
		}
	}
	slices.SortFunc(v.Containers, func(a, b *Container) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return v
}

// stamp is the time, later than any stamp before it; p.mu is held, so no state
// changes between it and what it is put on.
func (p *Pods) stamp() time.Time {
	for {
		last := p.stamped.Load()
		now := max(time.Now().UnixNano(), last+1)
		if p.stamped.CompareAndSwap(last, now) {
			return time.Unix(0, now)
		}
	}
}

// tell publishes events about a pod or one of its containers; p.mu is held
// whole, and what they tell of is visible.
func (p *Pods) tell(s *pod, id string, kinds []EventKind) {
	if p.feed.Subscribers() == 0 {
		return
	}
	for _, kind := range kinds {
		p.feed.Publish(Event{Kind: kind, ID: id, View: p.view(s)})
	}
}

// publishPod makes a pod, or what has become of it, visible to all, and tells
// of it in the same moment.
func (p *Pods) publishPod(s *pod, snap *Pod, events ...EventKind) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.snapshot.Store(snap)
	p.pods[s.id] = s
	p.tell(s, s.id, events)
}

// changePod shows a change of a pod. It may be made by two at once: a PID 1
// that ends does not wait for who stops the pod.
func (p *Pods) changePod(s *pod, change func(*Pod)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	snap := *s.snapshot.Load()
	change(&snap)
	s.snapshot.Store(&snap)
}

// changeContainer does the same for a container.
func (p *Pods) changeContainer(c *container, change func(*Container)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	snap := *c.snapshot.Load()
	change(&snap)
	c.snapshot.Store(&snap)
}

// publishContainer is publishPod for a container.
func (p *Pods) publishContainer(c *container, snap *Container, events ...EventKind) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.snapshot.Store(snap)
	p.containers[c.id] = c
	p.tell(c.pod, c.id, events)
}

// hidePod makes a removed pod invisible.
func (p *Pods) hidePod(s *pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pods, s.id)
	p.tell(s, s.id, []EventKind{EventDeleted})
}

// hideContainer makes a removed container invisible.
func (p *Pods) hideContainer(c *container) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.containers, c.id)
	p.tell(c.pod, c.id, []EventKind{EventDeleted})
}

// tellPodStopped tells that a pod that is not ready any more has been told to end.
func (p *Pods) tellPodStopped(s *pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tell(s, s.id, []EventKind{EventStopped})
}
