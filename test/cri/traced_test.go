package cri

import (
	"encoding/json"
	"runtime"
	"syscall"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/node"
)

// Somebody runs strace on a container. The kernel tells a tracer of the end
// first, and the parent when the tracer has heard: the code is true all the same.
func TestATracedContainerHasItsCode(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("traced")
	id := n.Run(n.RunPod(podCfg), podCfg, node.Container("main", `trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done`))
	n.WaitLog(id, "ready")
	r, err := n.Runtime.ContainerStatus(t.Context(), id, true)
	must(t, err)
	var info struct{ Pid int }
	must(t, json.Unmarshal([]byte(r.Info["info"]), &info))

	attached, told := make(chan error), make(chan error, 1)
	go trace(info.Pid, 500*time.Millisecond, attached, told)
	must(t, <-attached)
	must(t, n.Runtime.StopContainer(t.Context(), id, 20))
	must(t, <-told)
	if s := n.WaitState(id, cri.ContainerState_CONTAINER_EXITED); s.ExitCode != 9 || s.Reason != "Error" {
		t.Errorf("code %d, reason %s (%s); want 9, Error", s.ExitCode, s.Reason, s.Message)
	}
}

// trace follows a process to its end and hears of the end late.
func trace(pid int, late time.Duration, attached, told chan<- error) {
	runtime.LockOSThread() // a tracer is a thread; this one ends with the function
	if err := syscall.PtraceAttach(pid); err != nil {
		attached <- err
		return
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, syscall.WALL, nil); err != nil {
		attached <- err
		return
	}
	attached <- syscall.PtraceCont(pid, 0)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		time.Sleep(late)
		got, err := syscall.Wait4(pid, &status, syscall.WALL|syscall.WNOHANG, nil)
		if err != nil || got == pid && (status.Exited() || status.Signaled()) {
			told <- err
			return
		}
		if got == pid {
			late = 500 * time.Millisecond
			_ = syscall.PtraceCont(pid, int(passed(status)))
		}
	}
	told <- syscall.ETIMEDOUT
}

// passed is the signal that a stopped process is to get.
func passed(s syscall.WaitStatus) syscall.Signal {
	if s.Stopped() && s.StopSignal() != syscall.SIGTRAP && s.StopSignal() != syscall.SIGSTOP {
		return s.StopSignal()
	}
	return 0
}
