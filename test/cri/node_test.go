package cri

import (
	"errors"
	"os"
	"syscall"
	"testing"

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

// newNode starts a daemon with node.Busybox pulled.
func newNode(t *testing.T) *node.Node {
	t.Helper()
	return lab.New(t)
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
