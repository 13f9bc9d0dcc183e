package crash

import (
	"context"
	"syscall"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/gate"
	"slipway/test/node"
)

// faults are what a file system answers when it is full, and when it is broken.
// A second name for a file that is there needs no space, nor does another name.
var faults = []struct {
	name  string
	fails map[string]syscall.Errno
}{
	{"full disk", map[string]syscall.Errno{"create": syscall.ENOSPC, "mkdir": syscall.ENOSPC, "symlink": syscall.ENOSPC, "mknod": syscall.ENOSPC}},
	{"broken disk", map[string]syscall.Errno{"fsync": syscall.EIO, "syncfs": syscall.EIO, "rename": syscall.EIO}},
}

const shortFaults = 40

// TestEveryFault has every operation fail at every step that a full or broken
// disk can fail. It says so or succeeds all the same; while the fault lasts
// everything can be listed and, on a full disk, stopped and removed; once it is
// over the operation succeeds, without a restart. Nothing is left.
func TestEveryFault(t *testing.T) {
	n := lab.NewGated(t)
	attempt := uint32(0)
	plan := countSteps(n, &attempt)
	total, at, done := 0, uint64(0), 0
	for _, events := range plan {
		total += len(events)
	}
	every := max(1, uint64(total*len(faults)*2)/number(t, "SLIPWAY_CRASH_FAULTS", 4*shortFaults))
	for op, events := range plan {
		for k, e := range events {
			for f, fault := range faults {
				for _, removed := range []bool{false, true} {
					if at++; at%every != 0 || fault.fails[e.Call] == 0 || removed && f > 0 {
						continue
					}
					attempt++
					done++
					if !failAt(n, attempt, op, k, fault.fails, removed) {
						t.Fatalf("%s, step %d of %d (%s), %s, removed while it lasts: %v: see above", operations[op].name, k+1, len(events), e, fault.name, removed)
					}
				}
			}
		}
	}
	t.Logf("%d faults", done)
}

// failAt lives a life in which the disk fails from step k of one operation on,
// until the operation has ended or, if removed, until the pod is gone.
func failAt(n *node.Node, attempt uint32, target, k int, fails map[string]syscall.Errno, removed bool) bool {
	n.T.Helper()
	l := newLife(n, attempt)
	for i, op := range operations {
		if i != target {
			if err := op.do(l); err != nil {
				n.T.Errorf("%s: %v", op.name, err)
				return false
			}
			continue
		}
		seen := 0
		n.Gate.Watch(func(e gate.Event) syscall.Errno {
			if seen++; seen > k {
				return fails[e.Call]
			}
			return 0
		})
		err := op.do(l)
		ok := l.listed()
		if removed {
			ok = l.gone() && ok
		}
		n.Gate.Watch(nil)
		if !ok {
			n.T.Errorf("%s had answered: %v", op.name, err)
			return false
		}
		if removed {
			return true
		}
		if err != nil {
			if err = op.do(l); err != nil {
				n.T.Errorf("%s: fails after the fault, too: %v", op.name, err)
				return false
			}
		}
	}
	return true
}

// listed: whatever the disk does, people can look.
func (l *life) listed() bool {
	_, err := l.n.Runtime.ListPodSandbox(context.Background(), nil)
	if err == nil {
		_, err = l.n.Runtime.ListContainers(context.Background(), nil)
	}
	if err != nil {
		l.n.T.Errorf("list: %v", err)
	}
	return err == nil
}

// gone: all pods are stopped and removed, whatever their state.
func (l *life) gone() bool {
	pods, err := l.n.Runtime.ListPodSandbox(context.Background(), &cri.PodSandboxFilter{})
	if err != nil {
		l.n.T.Errorf("list: %v", err)
		return false
	}
	for _, p := range pods {
		if err := l.n.Runtime.StopPodSandbox(context.Background(), p.Id); err != nil {
			l.n.T.Errorf("stop pod: %v", err)
			return false
		}
		if err := l.n.Runtime.RemovePodSandbox(context.Background(), p.Id); err != nil {
			l.n.T.Errorf("remove pod: %v", err)
			return false
		}
	}
	return true
}
