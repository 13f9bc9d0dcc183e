package sandbox

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// eventPods is a Pods with one visible pod, and a maker of containers in it.
func eventPods() (p *Pods, s *pod, made func(id string, created int64) *container) {
	p = &Pods{pods: map[string]*pod{}, containers: map[string]*container{}}
	s = &pod{id: "pod", config: podConfig("a")}
	return p, s, func(id string, created int64) *container {
		return &container{id: id, pod: s, config: &cri.ContainerConfig{}, record: containerRecord{Created: created}}
	}
}

// aheadOfTheClock is a time that was stamped before the clock was set back.
var aheadOfTheClock = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// drain reads what waits in a subscription, as text.
func drain(t *testing.T, sub *Subscription) (got []string) {
	t.Helper()
	names := []string{"created", "started", "stopped", "deleted"}
	last := Event{View: View{At: aheadOfTheClock}}
	for len(sub.events) > 0 {
		e, err := sub.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !e.At.After(last.At) {
			t.Errorf("the event after one of %s has the time %s", last.At, e.At)
		}
		last = e
		text := fmt.Sprintf("%s %s: ready=%v", e.ID, names[e.Kind], e.Pod.Ready)
		for _, c := range e.Containers {
			text += fmt.Sprintf(" %s=%d", c.ID, c.State)
		}
		got = append(got, text)
	}
	return got
}

func TestEventsTellWhatIsVisible(t *testing.T) {
	p, s, made := eventPods()
	p.stamped.Store(aheadOfTheClock.UnixNano())
	sub := p.Subscribe()
	p.publishPod(s, &Pod{ID: s.id, Ready: true}, EventCreated, EventStarted)
	b, a := made("b", 2), made("a", 1)
	p.publishContainer(b, b.describe(), EventCreated)
	p.publishContainer(a, a.describe(), EventCreated)
	p.publishContainer(a, a.snapshot.Load().running(7, unixNano(3)), EventStarted)
	p.changePod(s, func(snap *Pod) { snap.Ready = false })
	p.publishContainer(a, a.snapshot.Load().exited(exitRecord{}), EventStopped)
	p.tellPodStopped(s)
	p.hideContainer(a)
	p.hideContainer(b)
	p.hidePod(s)
	want := []string{
		"pod created: ready=true",
		"pod started: ready=true",
		"b created: ready=true b=0",
		"a created: ready=true a=0 b=0",
		"a started: ready=true a=1 b=0",
		"a stopped: ready=false a=2 b=0",
		"pod stopped: ready=false a=2 b=0",
		"a deleted: ready=false b=0",
		"b deleted: ready=false",
		"pod deleted: ready=false",
	}
	if got := drain(t, sub); !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	if _, err := p.View(s.id); !errors.Is(err, ErrNotFound) {
		t.Errorf("view of a removed pod: %v", err)
	}
}

// Views and events are taken while states change: in the order of their times
// no state is older than one before it, and what is read after an event is at
// least as new.
func TestViewsAreOrderedByTheirTimes(t *testing.T) {
	const changes = 2000
	p, s, made := eventPods()
	p.publishPod(s, &Pod{ID: s.id, Ready: true})
	first, second := made("a", 1), made("b", 2)
	p.publishContainer(first, first.describe())
	p.publishContainer(second, second.describe())
	sub := p.Subscribe()
	defer sub.Close()

	done := make(chan struct{})
	var readers sync.WaitGroup
	seen := make([][]View, 3)
	for i := range seen {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				v, err := p.View("pod")
				if err != nil {
					t.Error(err)
					return
				}
				seen[i] = append(seen[i], v)
			}
		})
	}
	readers.Go(func() { // a listener that looks again at each event
		for {
			e, err := sub.Next(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			v, err := p.View("pod")
			if err != nil || v.Containers[0].ExitCode < e.Containers[0].ExitCode {
				t.Errorf("after the event %d: %v, %v", e.Containers[0].ExitCode, v.Containers, err)
				return
			}
			if e.ID == "end" {
				return
			}
		}
	})
	for i := range changes {
		for _, c := range []*container{first, second} {
			snap := *c.snapshot.Load()
			snap.ExitCode = int32(i + 1)
			p.publishContainer(c, &snap)
		}
		if i%10 == 0 {
			p.mu.Lock()
			p.tell(s, "pod", []EventKind{EventStarted})
			p.mu.Unlock()
		}
	}
	p.mu.Lock()
	p.tell(s, "end", []EventKind{EventStopped})
	p.mu.Unlock()
	close(done)
	readers.Wait()

	all := slices.Concat(seen...)
	slices.SortFunc(all, func(a, b View) int { return cmp.Compare(a.At.UnixNano(), b.At.UnixNano()) })
	sum := func(v View) int32 { return v.Containers[0].ExitCode + v.Containers[1].ExitCode }
	for i, v := range all {
		if i > 0 && (sum(v) < sum(all[i-1]) || v.At.Equal(all[i-1].At)) {
			t.Fatalf("view %d at %s has the state %d, the one before at %s has %d", i, v.At, sum(v), all[i-1].At, sum(all[i-1]))
		}
	}
}

func TestWhoIsTooSlowIsCutOffAndToldSo(t *testing.T) {
	var f Feed
	slow, quick := f.Subscribe(), f.Subscribe()
	for i := range maxPending + 1 {
		f.Publish(Event{ID: fmt.Sprint(i)})
		if e, err := quick.Next(t.Context()); err != nil || e.ID != fmt.Sprint(i) {
			t.Fatalf("the quick one's event %d: %v, %v", i, e, err)
		}
	}
	f.Publish(Event{ID: "after"})
	if _, err := slow.Next(t.Context()); !errors.Is(err, ErrSlow) || !errors.Is(slow.Err(), ErrSlow) {
		t.Errorf("the slow one: %v, %v", err, slow.Err())
	}
	if f.Dropped() != maxPending+1 || f.Subscribers() != 1 {
		t.Errorf("%d dropped, %d subscribers", f.Dropped(), f.Subscribers())
	}
	if e, err := quick.Next(t.Context()); err != nil || e.ID != "after" || quick.Err() != nil {
		t.Errorf("the quick one: %v, %v, %v", e, err, quick.Err())
	}
	slow.Close()
	quick.Close()
	quick.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := quick.Next(ctx); !errors.Is(err, context.Canceled) || f.Subscribers() != 0 {
		t.Errorf("closed: %v, %d subscribers", err, f.Subscribers())
	}
}

// A snapshot that is replaced elsewhere can be missed by a view with a later
// time: all of it is done in event.go.
func TestSnapshotsAreReplacedInOnePlace(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if name != "event.go" && !strings.HasSuffix(name, "_test.go") && bytes.Contains(text, []byte("snapshot.Store(")) {
			t.Errorf("%s replaces a snapshot by itself; use publishPod, changePod and the like", name)
		}
	}
}
