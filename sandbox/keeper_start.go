package sandbox

import (
	"context"
	"fmt"
	"os"
	"syscall"
)

// startKeeper starts a keeper from a sealed memfd, in a session of its own.
func startKeeper(_ context.Context, k keeperStart) (int, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return -1, err
	}
	defer null.Close()
	files := []uintptr{null.Fd(), uintptr(k.Log), uintptr(k.Log), uintptr(k.Listener)}
	pidfd := -1
	_, err = syscall.ForkExec(fmt.Sprintf("/proc/self/fd/%d", k.Binary), []string{"slipway-keeper", "-build=" + k.Build}, &syscall.ProcAttr{
		Dir: "/", Files: files, Sys: &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd},
	})
	if err != nil {
		return -1, err
	}
	return pidfd, nil
}
