package crash

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"k8s.io/klog/v2"

	"slipway/test/gate"
	"slipway/test/node"
)

// lab is the private machine that all tests of this package run on.
var lab *node.Lab

func TestMain(m *testing.M) {
	gate.Entry()
	os.Exit(node.Run(func(l *node.Lab) int {
		lab = l
		klog.LogToStderr(false) // the clients report each failure, of which there are many
		klog.SetOutput(io.Discard)
		return m.Run()
	}))
}

// killBoth ends both processes at once, as near as that can be.
func killBoth(n *node.Node) {
	n.T.Helper()
	keeper := n.KeeperPid()
	_ = syscall.Kill(n.Daemon.Pid(), syscall.SIGKILL)
	kill(n.T, keeper)
	_ = n.Daemon.Kill()
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
}

// podDir is where the records of a pod lie.
func podDir(n *node.Node, pod string) string { return filepath.Join(n.Setup.Root, "pods", pod) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within asks again until ok or the time is over.
func within(d time.Duration, ok func() bool) bool {
	for end := time.Now().Add(d); ; time.Sleep(20 * time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}
