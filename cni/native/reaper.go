package native

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	reapAfter = 2 * time.Second // by then the namespace is gone, normally
	reapMax   = 1024            // devices that may wait; with more, Del deletes at once
)

// reaper deletes devices that Del has cut off and that are still there after
// a while, because somebody holds the pod's namespace. Nearly all of them are
// gone by then: the kernel deletes them with the namespace, many at a time.
type reaper struct {
	log  *slog.Logger
	mu   sync.Mutex // guards due; never over I/O
	due  []victim
	wake chan struct{} // holds one: due is not empty any more
	once sync.Once     // closes stop
	stop chan struct{}
	done chan struct{}
}

type victim struct {
	index int // never used twice within a boot
	since time.Time
}

func newReaper(log *slog.Logger) *reaper {
	r := &reaper{log: log, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go r.run() // ends by close
	return r
}

// add queues a device. With too many waiting, it is deleted here and now.
func (r *reaper) add(index int) {
	r.mu.Lock()
	full := len(r.due) >= reapMax
	if !full {
		r.due = append(r.due, victim{index, time.Now()})
	}
	r.mu.Unlock()
	if full {
		r.reap(index)
		return
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// close ends the goroutine; what still waits is left to its namespace.
func (r *reaper) close() {
	r.once.Do(func() { close(r.stop) })
	<-r.done
}

func (r *reaper) run() {
	defer close(r.done)
	for {
		v, ok := r.next()
		var timer <-chan time.Time
		wake := r.wake
		if ok {
			timer, wake = time.After(time.Until(v.since.Add(reapAfter))), nil
		}
		select {
		case <-r.stop:
			return
		case <-wake:
			continue
		case <-timer:
		}
		r.reap(v.index)
		r.mu.Lock()
		r.due = r.due[1:]
		if len(r.due) == 0 {
			r.due = nil // and its memory
		}
		r.mu.Unlock()
	}
}

func (r *reaper) next() (victim, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.due) == 0 {
		return victim{}, false
	}
	return r.due[0], true
}

func (r *reaper) reap(index int) {
	err := withRoute(func(h *netlink.Handle) error {
		// Asking first: a delete that finds nothing takes the lock all the same.
		if _, err := h.LinkByIndex(index); err != nil {
			if errors.As(err, &netlink.LinkNotFoundError{}) || errors.Is(err, unix.ENODEV) {
				return nil
			}
			return err
		}
		return deleteLink(h, index)
	})
	if err != nil {
		r.log.Warn("network device not deleted", "index", index, "error", err)
	}
}
