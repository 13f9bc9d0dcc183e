package crash

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/gate"
	"slipway/test/node"
)

// life is one pod with one container, whose operations are done one by one.
type life struct {
	n       *node.Node
	cfg     *cri.PodSandboxConfig
	ctr     *cri.ContainerConfig
	pod, id string
	lost    bool // both processes died: the exit code may be unknown
	failed  bool // the start was cut off and says so
}

// code is what the container ends with when it is asked to.
const code = 7

func newLife(n *node.Node, attempt uint32) *life {
	l := &life{n: n, cfg: n.PodConfig("life"), ctr: node.Container("c", fmt.Sprintf("trap 'exit %d' TERM; echo up; while :; do sleep 0.02; done", code))}
	l.cfg.Metadata.Attempt = attempt
	l.ctr.LogPath = fmt.Sprintf("c-%d.log", attempt)
	l.cfg.Linux.SecurityContext.NamespaceOptions.Pid = cri.NamespaceMode_POD
	l.ctr.Linux.SecurityContext.NamespaceOptions.Pid = cri.NamespaceMode_POD
	return l
}

// operations are a pod's whole life, in order. Each can be repeated.
var operations = []struct {
	name string
	do   func(*life) error
}{
	{"PullImage", func(l *life) error {
		_, err := l.n.Images.PullImage(context.Background(), otherImage, nil, nil)
		return err
	}},
	{"RunPodSandbox", func(l *life) (err error) {
		l.pod, err = l.n.Runtime.RunPodSandbox(context.Background(), l.cfg, "")
		return err
	}},
	{"CreateContainer", func(l *life) (err error) {
		l.id, err = l.n.Runtime.CreateContainer(context.Background(), l.pod, l.ctr, l.cfg)
		return err
	}},
	{"StartContainer", (*life).start},
	{"ExecSync", func(l *life) error { return l.exec("echo hi", "hi") }},
	{"UpdateContainerResources", func(l *life) error {
		if l.failed {
			return nil
		}
		return l.n.Runtime.UpdateContainerResources(context.Background(), l.id, &cri.ContainerResources{Linux: &cri.LinuxContainerResources{CpuShares: 512}})
	}},
	{"ReopenContainerLog", func(l *life) error {
		if l.failed {
			return nil
		}
		return l.n.Runtime.ReopenContainerLog(context.Background(), l.id)
	}},
	{"StopContainer", (*life).stop},
	{"RemoveContainer", func(l *life) error { return l.n.Runtime.RemoveContainer(context.Background(), l.id) }},
	{"StopPodSandbox", func(l *life) error { return l.n.Runtime.StopPodSandbox(context.Background(), l.pod) }},
	{"RemovePodSandbox", func(l *life) error { return l.n.Runtime.RemovePodSandbox(context.Background(), l.pod) }},
	{"RemoveImage", func(l *life) error { return l.n.Images.RemoveImage(context.Background(), otherImage) }},
}

// otherImage is pulled and removed while pods come and go.
var otherImage = &cri.ImageSpec{Image: "registry.k8s.io/e2e-test-images/nginx:1.14-2"}

// start starts the container, or finds that it was: the answer was lost, or the
// keeper died over it and the container says so.
func (l *life) start() error {
	err := l.n.Runtime.StartContainer(context.Background(), l.id)
	if err == nil {
		return nil
	}
	r, statusErr := l.n.Runtime.ContainerStatus(context.Background(), l.id, false)
	switch {
	case statusErr != nil:
		return err
	case r.Status.State == cri.ContainerState_CONTAINER_RUNNING:
		return nil
	case r.Status.State == cri.ContainerState_CONTAINER_EXITED && r.Status.Reason == "StartError":
		l.failed = true
		return nil
	case r.Status.State == cri.ContainerState_CONTAINER_EXITED && l.lost && r.Status.Reason == "Unknown":
		l.failed = true
		return nil
	}
	return err
}

func (l *life) exec(script, want string) error {
	if l.failed {
		return nil
	}
	out, _, err := l.n.Runtime.ExecSync(context.Background(), l.id, []string{"sh", "-c", script}, 0)
	if err == nil && strings.TrimSpace(string(out)) != want {
		err = fmt.Errorf("exec printed %q, want %q", out, want)
	}
	return err
}

func (l *life) stop() error {
	if err := l.n.Runtime.StopContainer(context.Background(), l.id, 20); err != nil {
		return err
	}
	r, err := l.n.Runtime.ContainerStatus(context.Background(), l.id, false)
	if err != nil {
		return err
	}
	s := r.Status
	switch {
	case s.State != cri.ContainerState_CONTAINER_EXITED:
		return fmt.Errorf("after StopContainer it is %s", s.State)
	case s.ExitCode == code, s.ExitCode == 128+int32(syscall.SIGTERM), l.failed:
		return nil
	case l.lost && s.ExitCode == 255 && s.Reason == "Unknown":
		return nil
	}
	return fmt.Errorf("code %d (%s: %s), want %d", s.ExitCode, s.Reason, s.Message, code)
}

// Who dies at a step.
var victims = []string{"daemon", "keeper", "both"}

// TestEveryStep kills at every single system call of every operation that
// changes something outside the process: before it is made. What was begun is
// repeated and succeeds, and nothing is left.
func TestEveryStep(t *testing.T) {
	n := lab.NewGated(t)
	attempt := uint32(0)
	plan := countSteps(n, &attempt)
	total := 0
	for _, events := range plan {
		total += len(events)
	}
	every := max(1, uint64(total*len(victims))/number(t, "SLIPWAY_CRASH_STEPS", shortSteps))
	kills, at := 0, uint64(0)
	for op, events := range plan {
		for k := range events {
			for _, victim := range victims {
				if at++; at%every != 0 {
					continue
				}
				attempt++
				kills++
				if !killAt(n, attempt, op, k, victim) {
					t.Fatalf("%s, step %d of %d (%s), %s killed: see above", operations[op].name, k+1, len(events), events[k], victim)
				}
			}
		}
	}
	t.Logf("%d steps in %d operations; %d kills", total, len(plan), kills)
}

const shortSteps = 60

// countSteps lives one life and notes the steps of each operation.
func countSteps(n *node.Node, attempt *uint32) [][]gate.Event {
	n.T.Helper()
	*attempt++
	l := newLife(n, *attempt)
	plan := make([][]gate.Event, len(operations))
	for i, op := range operations {
		n.Gate.Watch(func(e gate.Event) syscall.Errno {
			plan[i] = append(plan[i], e)
			return 0
		})
		if err := op.do(l); err != nil {
			n.T.Fatalf("%s: %v", op.name, err)
		}
	}
	n.Gate.Watch(nil)
	for i, op := range operations {
		names := make([]string, len(plan[i]))
		for k, e := range plan[i] {
			names[k] = e.String()
		}
		n.T.Logf("%s: %d steps: %s", op.name, len(names), strings.Join(slices.Compact(names), ", "))
	}
	return plan
}

// killAt lives a life in which somebody dies before step k of one operation. A
// call that fails is repeated, as a kubelet does: the keeper of the life before
// may have been killed a moment ago.
func killAt(n *node.Node, attempt uint32, target, k int, victim string) bool {
	n.T.Helper()
	l := newLife(n, attempt)
	for i, op := range operations {
		var err error
		if i == target {
			err = l.struck(k, victim, op.do)
		} else {
			err = op.do(l)
		}
		if err != nil && within(retryFor, func() bool { err = op.do(l); return err == nil }) {
			err = nil
		}
		if err != nil {
			n.T.Errorf("%s: %v", op.name, err)
			return false
		}
	}
	return true
}

// struck does an operation and kills before its step k.
func (l *life) struck(k int, victim string, do func(*life) error) error {
	keeper, daemon := l.n.KeeperPid(), l.n.Daemon.Pid()
	seen := 0
	l.n.Gate.Watch(func(gate.Event) syscall.Errno {
		if seen++; seen == k+1 {
			if victim != "daemon" {
				_ = syscall.Kill(keeper, syscall.SIGKILL)
			}
			if victim != "keeper" {
				_ = syscall.Kill(daemon, syscall.SIGKILL)
			}
		}
		return 0
	})
	err := do(l)
	l.n.Gate.Watch(nil)
	if seen > k {
		l.lost = victim == "both"
		if victim != "keeper" {
			_ = l.n.Daemon.Kill()
			l.n.Start()
		}
	}
	return err
}

// TestEveryStepOfRecovery kills a daemon before every step that it takes to
// find again what runs, and leaves half done, after both processes had died.
func TestEveryStepOfRecovery(t *testing.T) {
	n := lab.NewGated(t)
	l := newLife(n, 1)
	for _, op := range operations[:5] { // up to a container that runs
		if err := op.do(l); err != nil {
			t.Fatalf("%s: %v", op.name, err)
		}
	}
	cut := 0
	for k := 0; ; k++ {
		killBoth(n)
		seen := 0
		n.Gate.Watch(func(e gate.Event) syscall.Errno {
			if seen++; seen == k+1 {
				_ = syscall.Kill(e.Pid, syscall.SIGKILL) // the whole process of this thread
			}
			return 0
		})
		n.StartCut()
		n.Gate.Watch(nil)
		_ = n.Daemon.Kill()
		n.Start()
		if err := l.exec("echo hi", "hi"); err != nil {
			t.Fatalf("killed before step %d of a start: %v", k+1, err)
		}
		if seen <= k {
			break
		}
		cut++
	}
	t.Logf("%d steps", cut)
	l.lost = true
	for _, op := range operations[5:] {
		if err := op.do(l); err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
	}
}
