package cri

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox/linux"
	"slipway/test/node"
)

// What each of these kills; afterwards pods, addresses, logs and codes are as
// if nothing had happened.
var kills = map[string]func(n *node.Node){
	"daemon": func(n *node.Node) { _ = n.Daemon.Kill(); n.Start() },
	"keeper": func(n *node.Node) {
		old := n.KeeperPid()
		kill(n.T, old)
		node.Until(n.T, "another keeper", func() bool { pid, ok := n.Keeper(); return ok && pid != old })
	},
	"both": func(n *node.Node) {
		keeper := n.KeeperPid()
		_ = n.Daemon.Kill()
		kill(n.T, keeper)
		n.Start()
	},
	"orderly": func(n *node.Node) { must(n.T, n.Daemon.Stop()); n.Start() },
}

func TestPodsSurviveKills(t *testing.T) {
	for name, strike := range kills {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			podCfg := n.PodConfig("survivor")
			pod := n.RunPod(podCfg)
			writer := n.Run(pod, podCfg, node.Container("writer", `trap 'exit 9' TERM; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done`))
			done := n.Run(pod, podCfg, node.Container("done", "exit 4"))
			shared := n.PodConfig("shared")
			shared.Linux.SecurityContext.NamespaceOptions.Pid = cri.NamespaceMode_POD
			sharedPod := n.RunPod(shared)
			cfg := node.Container("sharing", "sleep 1000")
			cfg.Linux.SecurityContext.NamespaceOptions.Pid = cri.NamespaceMode_POD
			sharing := n.Run(sharedPod, shared, cfg)
			n.WaitState(done, cri.ContainerState_CONTAINER_EXITED)
			n.WaitLog(writer, "line 5\n")
			ip := n.PodIP(pod)
			before := n.Status(writer)

			strike(n)

			if got := n.PodIP(pod); got != ip {
				t.Errorf("address %q, was %q", got, ip)
			}
			if s := n.Status(done); s.ExitCode != 4 || s.State != cri.ContainerState_CONTAINER_EXITED {
				t.Errorf("the ended container: %v", s)
			}
			s := n.Status(writer)
			if s.State != cri.ContainerState_CONTAINER_RUNNING || s.StartedAt != before.StartedAt {
				t.Fatalf("the running container: %v", s)
			}
			if got := n.Exec(writer, "echo", "hi"); got != "hi" {
				t.Errorf("exec: %q", got)
			}
			if got := n.Exec(sharing, "echo", "hi"); got != "hi" {
				t.Errorf("exec in a shared PID namespace: %q", got)
			}
			n.Run(pod, podCfg, node.Container("late", "sleep 1000"))
			written := size(t, s.LogPath)
			node.Until(t, "more lines", func() bool { return size(t, s.LogPath) > written+1000 })
			must(t, n.Runtime.StopContainer(t.Context(), writer, 30))
			s = n.WaitState(writer, cri.ContainerState_CONTAINER_EXITED)
			unseen := name == "both" && s.ExitCode == 255 && s.Reason == "Unknown" && !tellsExits()
			if s.ExitCode != 9 && !unseen {
				t.Errorf("exit code %d (%s: %s), want 9", s.ExitCode, s.Reason, s.Message)
			}
			wholeLog(t, n.Log(s))
		})
	}
}

// tellsExits: the kernel tells the exit code of a process that is nobody's
// child here (Linux 6.15).
func tellsExits() bool {
	for _, f := range linux.Probe() {
		if f.Name == "exit codes of processes that others reaped" {
			return f.Err == nil
		}
	}
	return true
}

func size(t *testing.T, file string) int64 {
	t.Helper()
	f, err := os.Stat(file)
	must(t, err)
	return f.Size()
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
	podCfg := n.PodConfig("unseen")
	pod := n.RunPod(podCfg)
	id := n.Run(pod, podCfg, node.Container("short", "sleep 1; echo last words; exit 42"))
	_ = n.Daemon.Kill()
	time.Sleep(1500 * time.Millisecond)
	n.Start()
	s := n.WaitState(id, cri.ContainerState_CONTAINER_EXITED)
	if s.ExitCode != 42 || !strings.Contains(n.Log(s), "last words") {
		t.Errorf("%v\n%s", s, n.Log(s))
	}
}
