package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// Machine is what the program finds inside.
type Machine struct {
	// Dir is a private directory on the host's file system, removed at the end.
	Dir string
	// Cgroup is a path, unique to this machine, below which cgroups may be
	// made in any hierarchy. It does not exist at first.
	Cgroup string
}

// Stages of the program, told apart by one environment variable.
const (
	stageKey  = "SLIPWAY_TEST_MACHINE" // STAGE:DIR
	stageInit = "init"
	stageMain = "main"
)

// Run calls inside on a private machine and returns its exit status, or 1 when
// the machine could not be made or cleaned. It needs root.
//
// The program is started twice more: as PID 1 of the machine, which only
// reaps, and as its main process, where inside is called. The context of
// inside ends with SIGINT or SIGTERM.
func Run(inside func(context.Context, *Machine) int) int {
	stage, dir := stageNow()
	var code int
	var err error
	switch stage {
	case "":
		code, err = host()
	case stageInit:
		code, err = initProcess(dir)
	default:
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return inside(ctx, &Machine{Dir: dir, Cgroup: "/" + filepath.Base(dir)})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "machine:", err)
		return max(code, 1)
	}
	return code
}

func stageNow() (stage, dir string) {
	v := os.Getenv(stageKey)
	for i := range v {
		if v[i] == ':' {
			return v[:i], v[i+1:]
		}
	}
	return "", ""
}

// again is this program with the same arguments, in the given stage.
func again(stage, dir string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), stageKey+"="+stage+":"+dir)
	return cmd
}

// host makes the machine, waits for its end and cleans up behind it.
func host() (code int, err error) {
	if os.Geteuid() != 0 {
		return 1, errors.New("needs root")
	}
	dir, err := os.MkdirTemp("", "slipway-test-")
	if err != nil {
		return 1, err
	}
	defer func() {
		err = errors.Join(err, removeCgroups("/"+filepath.Base(dir)), os.RemoveAll(dir))
	}()
	if err := os.Chmod(dir, 0o711); err != nil { // a user namespace's root must get through
		return 1, err
	}
	cmd := again(stageInit, dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true, // the terminal's SIGINT comes once, from us
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	runtime.LockOSThread() // Pdeathsig follows the thread
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start in new namespaces: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return exitCode(waitForwarding(cmd.Process, ended, signals))
}

// waitForwarding waits for the end and passes signals on; the third one kills.
func waitForwarding(p *os.Process, ended <-chan error, signals <-chan os.Signal) error {
	for n := 1; ; n++ {
		select {
		case err := <-ended:
			return err
		case s := <-signals:
			if n >= 3 {
				s = syscall.SIGKILL
			}
			_ = p.Signal(s)
		}
	}
}

func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

// initProcess is PID 1 of the machine: it sets the machine up, starts the main
// process, passes it signals, and reaps whatever falls to it until main ends.
func initProcess(dir string) (int, error) {
	if err := setUp(); err != nil {
		return 1, err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	cmd := again(stageMain, dir)
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 1, fmt.Errorf("wait: %w", err)
		case pid == cmd.Process.Pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		case pid == cmd.Process.Pid:
			return status.ExitStatus(), nil
		}
	}
}

// setUp makes the fresh namespaces usable.
func setUp() error {
	mounts := []struct {
		source, target, kind string
		flags                uintptr
		data                 string
	}{
		{"", "/", "", syscall.MS_REC | syscall.MS_PRIVATE, ""},
		{"proc", "/proc", "proc", syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC, ""},
		{"tmpfs", "/run", "tmpfs", syscall.MS_NOSUID | syscall.MS_NODEV, "mode=755"},
	}
	for _, m := range mounts {
		if err := syscall.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	if err := syscall.Sethostname([]byte("machine")); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("bring up loopback: %w: %s", err, out)
	}
	return nil
}
