package cni

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/version"
)

const (
	outputLimit = 1 << 20                // bytes of stdout, and of stderr
	drainLimit  = time.Second            // how long a child of a plugin may keep its output open
	killLimit   = 2 * time.Second        // how long SIGKILL may take
	busyPause   = 100 * time.Millisecond // between tries of a program that is being written
	busyTries   = 50
)

var errOutput = fmt.Errorf("more than %d bytes on stdout", outputLimit)

// runner runs plugin programs for libcni; it is its invoke.Exec.
type runner struct {
	version.PluginDecoder
	log *slog.Logger
}

// ExecPlugin runs one plugin to its end and returns its output. The plugin is
// a process group of its own and is killed as one when ctx ends, when it
// writes too much. It also dies with this process: what a killed daemon left
// half done is undone by DEL from the record, and an ADD that went on would
// finish after that DEL. Children that made a session of their own escape;
// they cannot hold up this call.
func (r *runner) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	runtime.LockOSThread() // the death signal follows the thread that started it
	defer runtime.UnlockOSThread()
	stdout := &capped{full: func() { cancel(errOutput) }}
	stderr := &capped{}
	cmd, err := start(ctx, func() *exec.Cmd {
		return &exec.Cmd{
			Path: path, Args: []string{path}, Dir: "/", Env: environment(environ),
			Stdin: bytes.NewReader(stdin), Stdout: stdout, Stderr: stderr,
			WaitDelay:   drainLimit,
			SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
		}
	})
	if err != nil {
		return nil, err
	}
	if err := wait(ctx, cmd); err != nil {
		return nil, pluginError(err, stdout.buf.Bytes(), stderr.buf.Bytes())
	}
	if stderr.buf.Len() > 0 {
		r.log.Debug("plugin wrote to stderr", "plugin", filepath.Base(path), "text", clean(stderr.buf.Bytes(), textLimit))
	}
	if slices.Contains(environ, "CNI_COMMAND=ADD") {
		if err := checkResult(stdout.buf.Bytes()); err != nil {
			return nil, err
		}
	}
	return stdout.buf.Bytes(), nil
}

// start waits while the program is being written (ETXTBSY): installers copy
// over plugins that are in use.
func start(ctx context.Context, build func() *exec.Cmd) (*exec.Cmd, error) {
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		cmd := build()
		err := cmd.Start()
		if err == nil {
			return cmd, nil
		}
		if !errors.Is(err, syscall.ETXTBSY) || try == busyTries {
			return nil, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(busyPause):
		}
	}
}

// wait returns nil when the plugin ended well. Its end is first seen without
// reaping it: as long as it is not reaped its number cannot be another
// group's, and the kill is safe.
func wait(ctx context.Context, cmd *exec.Cmd) error {
	ended := make(chan struct{})
	go func() { // ends with the plugin
		defer close(ended)
		peek(cmd.Process.Pid)
	}()
	var cause error
	select {
	case <-ended:
	case <-ctx.Done():
		cause = context.Cause(ctx)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		select {
		case <-ended:
		case <-time.After(killLimit):
			go cmd.Wait() // ends with the plugin
			return fmt.Errorf("%w; process %d cannot be killed", cause, cmd.Process.Pid)
		}
	}
	err := cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) { // it ended well; a child of it still holds its output
		err = nil
	}
	if cause == nil && err != nil {
		cause = context.Cause(ctx) // it may have died of a closed pipe before the kill
	}
	if cause != nil {
		return cause
	}
	return err
}

// peek waits until the child has ended and leaves it unreaped.
func peek(pid int) {
	const byPid = 1 // P_PID
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, byPid, uintptr(pid), 0, syscall.WEXITED|syscall.WNOWAIT, 0, 0)
		if errno != syscall.EINTR {
			return
		}
	}
}

// environment is what a plugin gets: the six variables of the specification
// and PATH, since plugins run ip, nft or iptables. The daemon's own may hold
// anything.
func environment(environ []string) []string {
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	env := []string{"PATH=" + path}
	for _, kv := range environ {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_ARGS", "CNI_IFNAME", "CNI_PATH":
			env = append(env, kv)
		}
	}
	return env
}
