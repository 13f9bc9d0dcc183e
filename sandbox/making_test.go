package sandbox

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func podConfig(name string) *cri.PodSandboxConfig {
	return &cri.PodSandboxConfig{Metadata: &cri.PodSandboxMetadata{Name: name, Namespace: "ns", Uid: "u"}}
}

func newMaking(id string, cfg *cri.PodSandboxConfig, fresh bool) *making {
	return &making{what: "pod", id: id, config: cfg, fresh: func() bool { return fresh }}
}

// A client gives up; its request goes on, and the same request joins it.
func TestRetryJoinsTheRunningRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pods{making: map[string]*making{}}
		var ran atomic.Int32
		slow := func(context.Context) error { ran.Add(1); time.Sleep(time.Minute); return nil }

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.make(ctx, "k", newMaking("first", podConfig("a"), true), time.Hour, slow); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("first: %v, want its deadline", err)
		}
		id, err := p.make(t.Context(), "k", newMaking("second", podConfig("a"), true), time.Hour, slow)
		if err != nil || id != "first" || ran.Load() != 1 {
			t.Errorf("retry: %q, %v after %d runs; want first after one", id, err, ran.Load())
		}
	})
}

func TestAnotherConfigurationIsToldWhoIsThere(t *testing.T) {
	p := &Pods{making: map[string]*making{}}
	ok := func(context.Context) error { return nil }
	if _, err := p.make(t.Context(), "k", newMaking("first", podConfig("a"), true), time.Minute, ok); err != nil {
		t.Fatal(err)
	}
	other := podConfig("a")
	other.Hostname = "other"
	if _, err := p.make(t.Context(), "k", newMaking("x", other, true), time.Minute, ok); !errors.Is(err, ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
}

func TestAUsedNameIsTaken(t *testing.T) {
	p := &Pods{making: map[string]*making{}}
	p.made("k", newMaking("old", podConfig("a"), false))
	if _, err := p.make(t.Context(), "k", newMaking("x", podConfig("a"), true), time.Minute, nil); !errors.Is(err, ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
	p.freeName("k", "old")
	id, err := p.make(t.Context(), "k", newMaking("x", podConfig("a"), true), time.Minute, func(context.Context) error { return nil })
	if err != nil || id != "x" {
		t.Errorf("after it was freed: %q, %v", id, err)
	}
}

// There is no "name is reserved": what failed can be asked for again at once.
func TestAFailureFreesTheName(t *testing.T) {
	p := &Pods{making: map[string]*making{}}
	boom := errors.New("boom")
	if _, err := p.make(t.Context(), "k", newMaking("a", podConfig("a"), true), time.Minute, func(context.Context) error { return boom }); !errors.Is(err, boom) {
		t.Fatalf("got %v, want boom", err)
	}
	id, err := p.make(t.Context(), "k", newMaking("b", podConfig("a"), true), time.Minute, func(context.Context) error { return nil })
	if err != nil || id != "b" {
		t.Errorf("retry: %q, %v", id, err)
	}
}

func TestUndoRunsInReverseAndOnlyOnError(t *testing.T) {
	var order []int
	try := func(fail error) (err error) {
		u := newUndo()
		defer u.run(t.Context(), &err)
		for i := range 3 {
			u.add(func(context.Context) error { order = append(order, i); return nil })
		}
		return fail
	}
	if err := try(nil); err != nil || len(order) != 0 {
		t.Fatalf("success undid %v (%v)", order, err)
	}
	if err := try(errors.New("x")); err == nil || len(order) != 3 || order[0] != 2 || order[2] != 0 {
		t.Errorf("undone in order %v (%v), want 2 1 0", order, err)
	}
}

func TestIdsAreFoundByPrefix(t *testing.T) {
	m := map[string]int{"aaab": 1, "aabb": 2, "cccc": 3}
	if v, err := find(m, "pod", "c"); err != nil || v != 3 {
		t.Errorf("unique prefix: %v, %v", v, err)
	}
	if _, err := find(m, "pod", "aa"); !errors.Is(err, ErrInvalid) {
		t.Errorf("two begin so: %v, want ErrInvalid", err)
	}
	if _, err := find(m, "pod", "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown id: %v, want ErrNotFound", err)
	}
	if _, err := find(map[string]int{}, "pod", ""); !errors.Is(err, ErrInvalid) {
		t.Errorf("no id: %v, want ErrInvalid", err) // what is gone may be stopped; nothing may not
	}
}

// Clients expect one word as the reason of an end, also of one that nobody saw.
func TestUnknownEnd(t *testing.T) {
	got := (&Container{State: Running, Pid: 7}).exited(exitRecord{Unknown: true, Code: 3, Reason: "the process ended while nobody watched", FinishedAt: 1})
	if got.State != Exited || got.ExitCode != 255 || got.Reason != ReasonUnknown || got.Message == "" || got.Pid != 0 {
		t.Errorf("%+v", got)
	}
}
