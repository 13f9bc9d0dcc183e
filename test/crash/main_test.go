package crash

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"slipway/test/node"
)

// lab is the private machine that all tests of this package run on.
var lab *node.Lab

func TestMain(m *testing.M) {
	os.Exit(node.Run(func(l *node.Lab) int {
		lab = l
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

// podDir and containerDir are where records lie.
func podDir(n *node.Node, pod string) string { return filepath.Join(n.Setup.Root, "pods", pod) }

func containerDir(n *node.Node, pod, id string) string { return filepath.Join(podDir(n, pod), id) }

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
