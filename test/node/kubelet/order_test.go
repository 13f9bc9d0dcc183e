package kubelet

import (
	"strings"
	"testing"
)

// A pod begins in order: init containers one after the other, a sidecar among
// them when it has started, then the rest and their hook. It ends in order: the
// hook, the containers, and the sidecar last.
func TestOrder(t *testing.T) {
	k := newKubelet(t)
	k.pod("order")
	p := k.ready("order")
	if c := p.container("first"); c.State.Terminated == nil || c.State.Terminated.ExitCode != 0 || c.State.Terminated.Reason != "Completed" {
		t.Errorf("the init container: %s", c.State)
	}
	if c := p.container("sidecar"); !c.Ready || c.State.Running == nil {
		t.Errorf("the sidecar: %s", c.State)
	}
	begin := "first sidecar second main poststart"
	want(t, "the beginning", strings.Join(strings.Fields(k.read(k.share("order"))), " "), begin)
	k.gone("order")
	want(t, "all", strings.Join(strings.Fields(k.read(k.share("order"))), " "), begin+" prestop main-end sidecar-end")
}

// A container that fails is started again, later each time; what it said at its
// end is kept. One that has done its work is left alone.
func TestBackOff(t *testing.T) {
	k := newKubelet(t)
	k.pod("backoff")
	k.until("the second wait", func() bool {
		p := k.look("backoff")
		c := p.container("fails")
		return c.RestartCount >= 1 && c.State.Waiting != nil && c.State.Waiting.Reason == "CrashLoopBackOff"
	})
	p := k.look("backoff")
	c := p.container("fails")
	last := c.LastState.Terminated
	if last == nil || last.ExitCode != 3 || last.Reason != "Error" || strings.TrimSpace(last.Message) != "last words" {
		t.Errorf("how it ended: %s", c.LastState)
	}
	if runs := len(strings.Fields(k.read(k.share("runs")))); runs != c.RestartCount+1 {
		t.Errorf("%d runs, %d restarts", runs, c.RestartCount)
	}
	if got := k.log("backoff", "fails", "previous=true"); !strings.Contains(got, "boom") {
		t.Errorf("the log of the run before: %q", got)
	}
	if c := p.container("done"); c.RestartCount != 0 || c.State.Terminated == nil || c.State.Terminated.Reason != "Completed" {
		t.Errorf("the one that is done: %d restarts, %s", c.RestartCount, c.State)
	}
	k.until("OOMKilled", func() bool {
		p := k.look("backoff")
		c := p.container("hungry")
		for _, s := range []state{c.State, c.LastState} {
			if s.Terminated != nil {
				return s.Terminated.Reason == "OOMKilled" && s.Terminated.ExitCode == 137
			}
		}
		return false
	})
}
