package crash

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/node"
)

// Everything at once on one pod: whatever wins, nothing hangs and nothing stays.
func TestAtOnce(t *testing.T) {
	n := lab.New(t)
	seed := number(t, "SLIPWAY_CRASH_SEED", uint64(time.Now().UnixNano()))
	t.Logf("SLIPWAY_CRASH_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 2))
	for i := range uint32(25) {
		cfg := n.PodConfig("once")
		cfg.Metadata.Attempt = i
		pod := n.RunPod(cfg)
		id, err := n.Runtime.CreateContainer(t.Context(), pod, node.Container("c", "sleep 0.05; exit 3"), cfg)
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		calls := []func(){
			func() { _ = n.Runtime.StartContainer(ctx, id) },
			func() { _ = n.Runtime.StartContainer(ctx, id) },
			func() { _ = n.Runtime.StopContainer(ctx, id, 0) },
			func() { _ = n.Runtime.StopContainer(ctx, id, 5) },
			func() { _, _, _ = n.Runtime.ExecSync(ctx, id, []string{"sleep", "0.02"}, time.Second) },
			func() { _, _, _ = n.Runtime.ExecSync(ctx, id, []string{"sleep", "10"}, time.Second) },
			func() { _ = n.Runtime.ReopenContainerLog(ctx, id) },
			func() { _, _ = n.Runtime.ContainerStats(ctx, id) },
			func() { _, _ = n.Runtime.CreateContainer(ctx, pod, node.Container("d", "exit 3"), cfg) },
		}
		if i%2 == 0 {
			calls = append(calls,
				func() { _ = n.Runtime.RemoveContainer(ctx, id) },
				func() { _ = n.Runtime.RemoveContainer(ctx, id) })
		}
		if i%3 == 0 {
			calls = append(calls,
				func() { _ = n.Runtime.StopPodSandbox(ctx, pod) },
				func() { _ = n.Runtime.RemovePodSandbox(ctx, pod) },
				func() { _ = n.Runtime.RemovePodSandbox(ctx, pod) })
		}
		var all sync.WaitGroup
		for _, call := range calls {
			wait := time.Duration(random.IntN(60)) * time.Millisecond
			all.Go(func() { time.Sleep(wait); call() })
		}
		all.Wait()
		if ctx.Err() != nil {
			t.Errorf("round %d: something hung", i)
		}
		cancel()
		n.RemovePod(pod)
	}
}

// A client that goes away does not end what it began; the next one joins.
func TestClientGone(t *testing.T) {
	n := lab.New(t)
	cfg := n.PodConfig("gone")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	_, err := n.Runtime.RunPodSandbox(ctx, cfg, "")
	cancel()
	if err == nil {
		t.Log("the pod was ready before its client had gone")
	}
	first, second := n.RunPod(cfg), n.RunPod(cfg)
	if first != second {
		t.Errorf("two pods under one name: %s, %s", first, second)
	}
	pods, err := n.Runtime.ListPodSandbox(t.Context(), &cri.PodSandboxFilter{})
	must(t, err)
	if len(pods) != 1 {
		t.Errorf("%d pods, want 1", len(pods))
	}
}

// A second daemon on the same directories is refused and harms nothing.
func TestSecondDaemon(t *testing.T) {
	n := lab.New(t)
	cfg := n.PodConfig("first")
	pod := n.RunPod(cfg)
	id := n.Run(pod, cfg, node.Container("c", "sleep 100"))
	other := *n.Setup
	other.Socket += ".second"
	args, err := other.Slipway()
	must(t, err)
	if d, err := other.Start(t.Context(), args, nil); err == nil {
		_ = d.Kill()
		t.Error("a second daemon runs")
	}
	if got := n.Exec(id, "echo", "hi"); got != "hi" {
		t.Errorf("exec: %q", got)
	}
}
