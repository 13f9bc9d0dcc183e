package cri

import (
	"fmt"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What each of these kills; afterwards pods, addresses, logs and codes are as
// if nothing had happened.
var kills = map[string]func(n *node){
	"daemon": func(n *node) { _ = n.daemon.Kill(); n.start() },
	"keeper": func(n *node) { kill(n.t, n.keeperPid()); time.Sleep(time.Second) },
	"both": func(n *node) {
		keeper := n.keeperPid()
		_ = n.daemon.Kill()
		kill(n.t, keeper)
		n.start()
	},
	"orderly": func(n *node) { must(n.t, n.daemon.Stop()); n.start() },
}

func TestPodsSurviveKills(t *testing.T) {
	for name, strike := range kills {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			podCfg := n.podConfig("survivor")
			pod := n.runPod(podCfg)
			writer := n.run(pod, podCfg, containerConfig("writer", `trap 'exit 9' TERM; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done`))
			done := n.run(pod, podCfg, containerConfig("done", "exit 4"))
			shared := n.podConfig("shared")
			shared.Linux.SecurityContext.NamespaceOptions.Pid = cri.NamespaceMode_POD
			sharedPod := n.runPod(shared)
			cfg := containerConfig("sharing", "sleep 1000")
			cfg.Linux.SecurityContext.NamespaceOptions.Pid = cri.NamespaceMode_POD
			sharing := n.run(sharedPod, shared, cfg)
			n.waitState(done, cri.ContainerState_CONTAINER_EXITED)
			ip := n.podIP(pod)
			before := n.status(writer)

			strike(n)

			if got := n.podIP(pod); got != ip {
				t.Errorf("address %q, was %q", got, ip)
			}
			if s := n.status(done); s.ExitCode != 4 || s.State != cri.ContainerState_CONTAINER_EXITED {
				t.Errorf("the ended container: %v", s)
			}
			s := n.status(writer)
			if s.State != cri.ContainerState_CONTAINER_RUNNING || s.StartedAt != before.StartedAt {
				t.Fatalf("the running container: %v", s)
			}
			if got := n.exec(writer, "echo", "hi"); got != "hi" {
				t.Errorf("exec: %q", got)
			}
			if got := n.exec(sharing, "echo", "hi"); got != "hi" {
				t.Errorf("exec in a shared PID namespace: %q", got)
			}
			n.run(pod, podCfg, containerConfig("late", "sleep 1000"))
			time.Sleep(300 * time.Millisecond)
			must(t, n.rt.StopContainer(t.Context(), writer, 10))
			s = n.waitState(writer, cri.ContainerState_CONTAINER_EXITED)
			if s.ExitCode != 9 {
				t.Errorf("exit code %d (%s: %s), want 9", s.ExitCode, s.Reason, s.Message)
			}
			wholeLog(t, n.log(s))
		})
	}
}

// wholeLog checks numbered lines: none missing, doubled, or out of order.
func wholeLog(t *testing.T, log string) {
	t.Helper()
	i := 0
	for line := range strings.Lines(log) {
		i++
		if want := fmt.Sprintf("line %d\n", i); line != want {
			t.Fatalf("line %d of the log is %q", i, line)
		}
	}
	if i < 20 {
		t.Errorf("only %d lines", i)
	}
}

// A container ends while the daemon is dead: the code is true.
func TestEndsWhileTheDaemonIsDead(t *testing.T) {
	n := newNode(t)
	podCfg := n.podConfig("unseen")
	pod := n.runPod(podCfg)
	id := n.run(pod, podCfg, containerConfig("short", "sleep 1; echo last words; exit 42"))
	_ = n.daemon.Kill()
	time.Sleep(1500 * time.Millisecond)
	n.start()
	s := n.waitState(id, cri.ContainerState_CONTAINER_EXITED)
	if s.ExitCode != 42 || !strings.Contains(n.log(s), "last words") {
		t.Errorf("%v\n%s", s, n.log(s))
	}
}
