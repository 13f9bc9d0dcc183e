package sandbox

import (
	"io"
	"os"
	"sync/atomic"
	"time"

	"slipway/sandbox/cgroup"
)

// gauge is what the use of a container or a pod is read with: descriptors that
// are opened by the first reading and closed with the end of what they measure.
// Readings take no lock.
type gauge struct {
	meter      lazy[*cgroup.Meter]
	interfaces lazy[*os.File] // of a pod's network
	last       atomic.Pointer[sample]
}

// close ends the readings; those at work finish.
func (g *gauge) close() {
	g.meter.close()
	g.interfaces.close()
}

// stats reads a cgroup by a meter that is kept. One that is gone may come again
// under the same path, a pod's for instance: the next reading looks.
func (g *gauge) stats(tree *cgroup.Tree, path string) (cgroup.Stats, *cgroup.Meter, error) {
	m, err := g.meter.get(func() (*cgroup.Meter, error) { return tree.Meter(path) })
	if err != nil {
		return cgroup.Stats{}, nil, err
	}
	s, err := m.Stats()
	if err != nil {
		g.meter.drop(m)
	}
	return s, m, err
}

// sample is one reading of a CPU counter.
type sample struct {
	at    time.Time
	usage time.Duration
	cores cgroup.Number // billionths of a core, since the reading before
}

// minSample is the least time between two readings that a rate is made of.
const minSample = 100 * time.Millisecond

// cores gives the rate of CPU use between this reading and the one before, in
// billionths of a core. The first reading has none, nor has one after a counter
// that went back: that of a pod whose containers are added up.
func (g *gauge) cores(at time.Time, usage time.Duration) cgroup.Number {
	last := g.last.Load()
	now := &sample{at: at, usage: usage}
	if last != nil {
		dt := at.Sub(last.at)
		if dt < minSample {
			return last.cores
		}
		if usage >= last.usage {
			now.cores = cgroup.Number{N: uint64(float64(usage-last.usage) / dt.Seconds()), Known: true}
		}
	}
	g.last.CompareAndSwap(last, now) // when another reading came first, its sample is as good
	return now.cores
}

// lazy holds a thing that is opened when it is needed first and, once closed, is
// never opened again.
type lazy[T interface {
	comparable
	io.Closer
}] struct {
	p atomic.Pointer[opened[T]]
}

type opened[T any] struct {
	it     T
	closed bool
}

// get returns the thing. ErrState after close.
func (k *lazy[T]) get(open func() (T, error)) (T, error) {
	var none T
	for {
		if h := k.p.Load(); h != nil {
			if h.closed {
				return none, ErrState
			}
			return h.it, nil
		}
		it, err := open()
		if err != nil {
			return none, err
		}
		if k.p.CompareAndSwap(nil, &opened[T]{it: it}) {
			return it, nil
		}
		_ = it.Close() // somebody was faster
	}
}

// drop closes a thing that is of no use any more.
func (k *lazy[T]) drop(it T) {
	if h := k.p.Load(); h != nil && !h.closed && h.it == it && k.p.CompareAndSwap(h, nil) {
		_ = it.Close()
	}
}

func (k *lazy[T]) close() {
	if h := k.p.Swap(&opened[T]{closed: true}); h != nil && !h.closed {
		_ = h.it.Close()
	}
}
