package registry

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// How often one host is asked the same thing. A mirror has others behind it.
const (
	triesMirror = 2
	triesLast   = 8
)

const (
	firstPause = 50 * time.Millisecond
	maxPause   = 2 * time.Second
	maxAfter   = 30 * time.Second // of a Retry-After that is obeyed
)

// A hostsError says what each host answered. It is the kind of error that the
// last one gave, which is the registry itself.
type hostsError struct {
	tries []hostError
}

type hostError struct {
	host string
	err  error
}

func (e *hostsError) Error() string {
	parts := make([]string, len(e.tries))
	for i, t := range e.tries {
		parts[i] = t.host + ": " + t.err.Error()
	}
	return strings.Join(parts, "; ")
}

func (e *hostsError) Unwrap() error { return e.tries[len(e.tries)-1].err }

// each asks the hosts in their order until one does. Hosts that are down are
// left out as long as there is another.
func (r *Repository) each(ctx context.Context, may func(*endpoint) bool, do func(*endpoint) error) error {
	var list, up []*endpoint
	for _, e := range r.endpoints {
		if !may(e) {
			continue
		}
		list = append(list, e)
		if !e.down.Load() {
			up = append(up, e)
		}
	}
	if len(up) > 0 {
		list = up
	}
	all := &hostsError{}
	for i, e := range list {
		tries := triesMirror
		if i == len(list)-1 {
			tries = triesLast
		}
		err := r.retry(ctx, tries, func() error { return do(e) })
		if err == nil || ctx.Err() != nil {
			return err
		}
		if unreached(err) || errors.Is(err, ErrCorrupt) {
			e.down.Store(true)
		}
		if i < len(list)-1 {
			r.o.Log.Info("registry host failed, trying the next", "host", shown(e.url), "error", err)
		}
		all.tries = append(all.tries, hostError{shown(e.url), err})
	}
	if len(all.tries) == 0 {
		all.tries = []hostError{{r.registry, errNoHost}}
	}
	return all
}

var errNoHost = errors.New("no configured host may be asked for this")

// unreached tells that no reply came at all.
func unreached(err error) bool {
	var s *statusError
	return errors.Is(err, ErrUnreachable) && !errors.As(err, &s)
}

// retry repeats what may work the next time, with growing pauses.
func (r *Repository) retry(ctx context.Context, tries int, do func() error) error {
	pause := firstPause
	for n := 1; ; n++ {
		err := do()
		if err == nil || ctx.Err() != nil || n == tries || !temporary(err) {
			return err
		}
		if unreached(err) && n == 3 {
			return err // a host that is not there does not come back in a second
		}
		if err := sleep(ctx, max(jitter(pause), retryAfter(err))); err != nil {
			return err
		}
		pause = min(2*pause, maxPause)
	}
}

func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d) //nolint:gosec // spreads clients, guards nothing
}

func retryAfter(err error) time.Duration {
	var s *statusError
	if !errors.As(err, &s) || s.after == "" {
		return 0
	}
	if n, err := strconv.ParseInt(s.after, 10, 64); err == nil {
		return time.Duration(max(0, min(n, int64(maxAfter/time.Second)))) * time.Second
	}
	if t, err := http.ParseTime(s.after); err == nil {
		return min(time.Until(t), maxAfter)
	}
	return 0
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
