package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/node"
)

// churner makes and removes pods, one after the other.
type churner struct {
	f      *field
	name   string
	random *rand.Rand
	turn   uint32
}

func (k *churner) run(ctx context.Context) {
	for ctx.Err() == nil && !k.f.n.T.Failed() {
		k.turn++
		k.pod()
	}
}

// pod is one life of a pod: every call is repeated until it succeeds.
func (k *churner) pod() {
	bg := context.Background()
	cfg := k.f.n.PodConfig(k.name)
	cfg.Metadata.Attempt = k.turn
	shared := k.random.IntN(2) == 0
	if shared {
		cfg.Linux.SecurityContext.NamespaceOptions.Pid = cri.NamespaceMode_POD
	}
	var pod string
	if !k.f.retry("run pod", func(c *node.Clients) (err error) { pod, err = c.Runtime.RunPodSandbox(bg, cfg, ""); return err }) {
		return
	}
	k.f.pods.Add(1)
	for i := range 1 + k.random.IntN(2) {
		k.container(pod, cfg, fmt.Sprintf("c%d", i), shared)
	}
	if k.random.IntN(4) > 0 && !k.f.retry("stop pod", func(c *node.Clients) error { return c.Runtime.StopPodSandbox(bg, pod) }) {
		return
	}
	k.f.retry("remove pod", func(c *node.Clients) error { return c.Runtime.RemovePodSandbox(bg, pod) })
}

// container is one life of a container, with a code of its own.
func (k *churner) container(pod string, podCfg *cri.PodSandboxConfig, name string, shared bool) {
	bg := context.Background()
	code := int32(1 + k.random.IntN(100))
	long := k.random.IntN(2) == 0 // until it is stopped
	script := fmt.Sprintf("trap 'exit %d' TERM; for i in $(seq 1 %d); do sleep 0.02; done; exit %d", code, k.random.IntN(20), code)
	if long {
		script = fmt.Sprintf("trap 'exit %d' TERM; while :; do sleep 0.02; done", code)
	}
	cfg := node.Container(name, script)
	cfg.LogPath = fmt.Sprintf("%s-%d.log", name, k.turn)
	if shared {
		cfg.Linux.SecurityContext.NamespaceOptions.Pid = cri.NamespaceMode_POD
	}
	both := k.f.both.Load()
	var id string
	if !k.f.retry("create container", func(c *node.Clients) (err error) {
		id, err = c.Runtime.CreateContainer(bg, pod, cfg, podCfg)
		return err
	}) {
		return
	}
	k.f.containers.Add(1)
	k.f.retry("start container", func(c *node.Clients) error {
		err := c.Runtime.StartContainer(bg, id)
		if err != nil && k.state(id) > cri.ContainerState_CONTAINER_CREATED {
			return nil // it was started, the answer was lost; or it could not be
		}
		return err
	})
	k.exec(id)
	if long {
		k.f.retry("stop container", func(c *node.Clients) error { return c.Runtime.StopContainer(bg, id, 20) })
	}
	k.ended(id, code, both, long)
	if k.random.IntN(2) == 0 {
		k.f.retry("remove container", func(c *node.Clients) error { return c.Runtime.RemoveContainer(bg, id) })
	}
}

// state of a container, -1 when nobody says.
func (k *churner) state(id string) cri.ContainerState {
	r, err := k.f.clients.Load().Runtime.ContainerStatus(context.Background(), id, false)
	if err != nil {
		return -1
	}
	return r.Status.State
}

// exec may fail, but what it returns is right.
func (k *churner) exec(id string) {
	out, _, err := k.f.clients.Load().Runtime.ExecSync(context.Background(), id, []string{"echo", k.name}, 10*time.Second)
	if err == nil && strings.TrimSpace(string(out)) != k.name {
		k.f.n.T.Errorf("exec printed %q, want %q", out, k.name)
	}
	if err == nil {
		k.f.execs.Add(1)
	}
}

// ended checks the exit code: true, or unknown if both processes died at once
// meanwhile. A start that the keeper's death cut off has failed and says so.
func (k *churner) ended(id string, code int32, both int64, stopped bool) {
	var s *cri.ContainerStatus
	if !k.f.retry("wait for the end", func(c *node.Clients) error {
		r, err := c.Runtime.ContainerStatus(context.Background(), id, false)
		if err == nil && r.Status.State != cri.ContainerState_CONTAINER_EXITED {
			err = fmt.Errorf("container is %s", r.Status.State)
		}
		if err == nil {
			s = r.Status
		}
		return err
	}) {
		return
	}
	switch {
	case s.ExitCode == code, stopped && s.ExitCode == 128+int32(syscall.SIGTERM): // the shell had not set its trap yet
	case s.Reason == "StartError" && strings.Contains(s.Message, "keeper died"):
		k.f.startErrors.Add(1)
	case s.ExitCode == 255 && s.Reason == "Unknown" && k.f.both.Load() > both:
		k.f.unknown.Add(1)
	default:
		k.f.n.T.Errorf("container %s: code %d (%s: %s), want %d", id, s.ExitCode, s.Reason, s.Message, code)
	}
}
