package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// errStalled: a reply that stopped, or drips.
var errStalled = errors.New("the reply stalled")

// minRate is what a reply must bring, in bytes a second of waiting for it.
const minRate = 1 << 10

// watch cancels a reply that is silent for the idle time, or slower than
// minRate over it. Only the time spent waiting for the network counts: who
// reads slowly is no fault of the registry.
type watch struct {
	r      io.Reader
	idle   time.Duration
	timer  *time.Timer
	waited time.Duration
	n      int64
	cancel context.CancelCauseFunc
}

func newWatch(r io.Reader, idle time.Duration, cancel context.CancelCauseFunc) *watch {
	w := &watch{r: r, idle: idle, cancel: cancel}
	w.timer = time.AfterFunc(idle, func() { cancel(errStalled) })
	w.timer.Stop()
	return w
}

func (w *watch) Read(p []byte) (int, error) {
	start := time.Now()
	w.timer.Reset(w.idle)
	n, err := w.r.Read(p)
	w.timer.Stop()
	w.waited += time.Since(start)
	w.n += int64(n)
	if w.waited >= w.idle {
		if err == nil && w.n < minRate*int64(w.idle/time.Second) {
			w.cancel(errStalled)
			err = errStalled
		}
		w.waited, w.n = 0, 0
	}
	return n, err
}

// stalled says why a request was cancelled, if it was not by the caller.
func stalled(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return fmt.Errorf("%w: %w", errStalled, ErrUnreachable)
	}
	return err
}
