package sandbox

import (
	"sync"

	"slipway/sandbox/wire"
)

// earlyEnds holds back the ends that are told while the records are still
// being read, when there is no container yet to tell them to.
type earlyEnds struct {
	mu   sync.Mutex // guards the fields below
	kept []wire.Exit
	to   func(wire.Exit)
}

func (e *earlyEnds) told(x wire.Exit) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.to == nil {
		e.kept = append(e.kept, x)
		return
	}
	e.to(x)
}

// deliver tells what was kept, in order, and passes on what comes from now on.
func (e *earlyEnds) deliver(to func(wire.Exit)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.kept {
		to(x)
	}
	e.kept, e.to = nil, to
}
