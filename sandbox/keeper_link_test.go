package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"slipway/sandbox/linux"
	"slipway/sandbox/program"
	"slipway/sandbox/wire"
)

// keeperBinary builds the tests of package keeper: that binary is a keeper
// whose programs are plain commands, and also the writer of numbered lines.
func keeperBinary(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	path := filepath.Join(t.TempDir(), "keeper")
	if out, err := exec.Command("go", "test", "-c", "-o", path, "slipway/sandbox/keeper").CombinedOutput(); err != nil {
		t.Fatalf("build keeper: %v\n%s", err, out)
	}
	return path
}

// command is a program of that keeper.
type command struct {
	Argv, Env []string
	fds       []int
}

func (c command) Seal() (int, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return -1, err
	}
	return linux.SealedMemfd("command", b)
}
func (c command) Fds() []int { return c.fds }
func (c command) Failure(step int, errno syscall.Errno) error {
	return &wire.Error{Step: fmt.Sprint("step ", step), Errno: errno}
}

// bench is one daemon after the other on a state directory.
type bench struct {
	t      *testing.T
	o      linkOptions
	link   *link
	mu     sync.Mutex
	exits  map[string]wire.Exit
	keeper int // pidfd
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, exits: map[string]wire.Exit{}, keeper: -1}
	b.o = linkOptions{
		State: t.TempDir(), Binary: keeperBinary(t), KeeperLog: -1, Log: slog.New(slog.DiscardHandler),
		OnExit: func(e wire.Exit) { b.mu.Lock(); b.exits[e.ID] = e; b.mu.Unlock() },
		Start:  b.start,
	}
	t.Cleanup(func() {
		if b.link != nil {
			_ = b.link.close(false)
		}
		b.kill()
	})
	return b
}

func (b *bench) start(_ context.Context, k keeperStart) (int, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return -1, err
	}
	defer null.Close()
	memfd, err := linux.SealedMemfd("slipway-keeper", k.Binary)
	if err != nil {
		return -1, err
	}
	defer linux.Close(memfd)
	pidfd := -1
	_, err = syscall.ForkExec(fmt.Sprintf("/proc/self/fd/%d", memfd), []string{"slipway-keeper"}, &syscall.ProcAttr{
		Env:   []string{"SLIPWAY_TEST_ROLE=keeper", "SLIPWAY_TEST_BUILD=" + k.Build},
		Files: []uintptr{null.Fd(), uintptr(k.Log), uintptr(k.Log), uintptr(k.Listener)},
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd},
	})
	if err != nil {
		return -1, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.keeper >= 0 {
		_ = linux.Close(b.keeper)
	}
	b.keeper, err = linux.Dup(pidfd)
	return pidfd, err
}

// kill ends the keeper and waits for its end.
func (b *bench) kill() {
	b.mu.Lock()
	fd, err := linux.Dup(b.keeper) // the link starts another one meanwhile
	b.mu.Unlock()
	if err == nil {
		defer linux.Close(fd)
		_ = linux.SignalProcess(fd, syscall.SIGKILL)
		b.until("end of the keeper", func() bool { _, ok, err := linux.PeekExit(fd); return ok || err != nil })
	}
}

// pid is the keeper's.
func (b *bench) pid() (pid int) {
	info, err := os.ReadFile(fmt.Sprint("/proc/self/fdinfo/", b.keeper))
	b.ok(err)
	for line := range strings.Lines(string(info)) {
		_, _ = fmt.Sscanf(line, "Pid: %d", &pid)
	}
	return pid
}

func (b *bench) open() []held {
	b.t.Helper()
	l, there, err := openLink(b.t.Context(), b.o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.link = l
	return there
}

func (b *bench) until(what string, f func() bool) {
	b.t.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("never: %s", what)
		}
	}
}

func (b *bench) exit(id string) wire.Exit {
	b.t.Helper()
	var e wire.Exit
	b.until("exit of "+id, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		var ok bool
		e, ok = b.exits[id]
		return ok
	})
	return e
}

func (b *bench) ok(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// shell is a command line as an exec.
func (b *bench) shell(id, line string) (child, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	b.ok(err)
	defer null.Close()
	n := int(null.Fd())
	c, err := b.link.spawn(b.t.Context(), spawn{ID: id, Kind: wire.KindExec, Program: command{Argv: []string{"/bin/sh", "-c", line}, fds: []int{n, n, n}}})
	if c.Pidfd > 0 {
		_ = linux.Close(c.Pidfd)
	}
	return c, err
}

// writer starts a container that writes numbered lines until the function is called.
func (b *bench) writer(id string) (dir string, stop func()) {
	b.t.Helper()
	dir = filepath.Join(b.o.State, id)
	b.ok(os.Mkdir(dir, 0o700))
	fds := map[string]int{"absent": -1}
	open := func(name string, flags int) {
		path := filepath.Join(dir, name)
		if name == wire.FdStdout || name == wire.FdStderr {
			b.ok(syscall.Mkfifo(path, 0o600))
		}
		fd, err := syscall.Open(path, flags|syscall.O_CLOEXEC, 0o600)
		b.ok(err)
		fds[name] = fd
	}
	open(".", syscall.O_RDONLY|syscall.O_DIRECTORY)
	fds[wire.FdRecord] = fds["."]
	delete(fds, ".")
	open(wire.FdLog, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_APPEND)
	open(wire.FdStdout, syscall.O_RDWR)
	open(wire.FdStderr, syscall.O_RDWR)
	var stage, in [2]int
	b.ok(syscall.Pipe2(stage[:], syscall.O_CLOEXEC))
	b.ok(syscall.Pipe2(in[:], syscall.O_CLOEXEC))
	fds[wire.FdStageR], fds[wire.FdStageW] = stage[0], stage[1]
	c, err := b.link.spawn(b.t.Context(), spawn{ID: id, Kind: wire.KindContainer, Fds: fds, Program: command{
		Argv: []string{b.o.Binary}, Env: []string{"SLIPWAY_TEST_ROLE=writer", "SLIPWAY_TEST_LINE=30"},
		fds: []int{in[0], fds[wire.FdStdout], fds[wire.FdStderr]},
	}})
	b.ok(err)
	pidfd := c.Pidfd
	b.t.Cleanup(func() { _ = linux.SignalProcess(pidfd, syscall.SIGKILL); _ = linux.Close(pidfd) })
	_ = linux.Close(in[0])
	for name, fd := range fds {
		if name != "absent" {
			_ = linux.Close(fd)
		}
	}
	return dir, func() { _ = linux.Close(in[1]) }
}

// numbered checks that stdout in the log is complete, in order, undoubled.
func (b *bench) numbered(dir string) {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, wire.FdLog))
	b.ok(err)
	var out strings.Builder
	for line := range bytes.Lines(data) {
		p := bytes.SplitN(bytes.TrimSuffix(line, []byte("\n")), []byte(" "), 4)
		if len(p) == 4 && string(p[1]) == "stdout" {
			out.Write(p[3])
			if string(p[2]) == "F" {
				out.WriteByte('\n')
			}
		}
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	n := len(lines) - 1
	for i, line := range lines[:n] {
		if strings.TrimRight(line, "x") != fmt.Sprint(i+1) {
			b.t.Fatalf("line %d is %.60q", i+1, line)
		}
	}
	if lines[n] != fmt.Sprintf("end %d", n) || n == 0 {
		b.t.Fatalf("last line is %.60q after %d", lines[n], n)
	}
}

func TestLinkStartsAndTells(t *testing.T) {
	b := newBench(t)
	if there := b.open(); len(there) != 0 {
		t.Errorf("a new keeper holds %v", there)
	}
	_, err := b.shell("x1", "exit 4")
	b.ok(err)
	if e := b.exit("x1"); e.Code != 4 || e.Kind != wire.KindExec {
		t.Errorf("exit %+v", e)
	}
	_, err = b.link.spawn(t.Context(), spawn{ID: "x2", Kind: wire.KindExec, Program: command{Argv: []string{"/none"}, fds: []int{0, 1, 2}}})
	var step *wire.Error
	if !errors.As(err, &step) || step.Step != "step 3" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("failing start: %v", err)
	}
	b.ok(b.link.ping(t.Context()))
	b.ok(b.link.drop(t.Context(), "never there"))
}

// TestLinkOutlivesKeepers kills the keeper again and again: the daemon is then
// the parent, and log and exit code stay whole.
func TestLinkOutlivesKeepers(t *testing.T) {
	b := newBench(t)
	b.open()
	dir, stop := b.writer("c1")
	r, w, err := os.Pipe()
	b.ok(err)
	defer r.Close()
	b.ok(b.link.hold(t.Context(), "pod", map[string]int{"net": int(w.Fd())}))
	w.Close()
	for range 15 {
		time.Sleep(10 * time.Millisecond)
		b.kill()
		_, err := b.shell("x", "exit 3")
		for errors.Is(err, errKeeperDied) { // the link may not have noticed yet
			_, err = b.shell("x", "exit 3")
		}
		b.ok(err)
		if e := b.exit("x"); e.Code != 3 || e.Unknown {
			t.Fatalf("exec after a restart: %+v", e)
		}
		b.until("exec is forgotten", func() bool {
			b.link.mu.Lock()
			defer b.link.mu.Unlock()
			return b.link.kept["x"] == nil
		})
		b.mu.Lock()
		delete(b.exits, "x")
		b.mu.Unlock()
	}
	stop()
	if e := b.exit("c1"); e.Code != 7 || e.Unknown {
		t.Errorf("exit %+v", e)
	}
	b.numbered(dir)
	b.ok(b.link.drop(t.Context(), "c1"))
	b.ok(b.link.close(false))
	there := b.open()
	defer closeHeld(there)
	if len(there) != 1 || there[0].ID != "pod" || there[0].Kind != wire.KindPod || there[0].Fds["net"] == 0 {
		t.Errorf("handed over: %+v", there)
	}
}

// TestLinkEndsWhileNoKeeper: an exit code that falls between two keepers is true.
func TestLinkEndsWhileNoKeeper(t *testing.T) {
	b := newBench(t)
	b.open()
	block := make(chan struct{})
	start := b.link.o.Start
	b.link.o.Start = func(ctx context.Context, k keeperStart) (int, error) {
		<-block
		return start(ctx, k)
	}
	dir, stop := b.writer("c1")
	b.kill()
	stop() // nobody reads: the writer fills its FIFO and waits for the next keeper
	close(block)
	if e := b.exit("c1"); e.Code != 7 || e.Unknown || e.Unrecorded {
		t.Errorf("exit %+v", e)
	}
	b.numbered(dir)
}

// TestLinkReapsStrays: what nobody knows is reaped, a child of os/exec is not.
func TestLinkReapsStrays(t *testing.T) {
	b := newBench(t)
	b.open()
	_, err := b.shell("x", "(sleep 0.3 & echo $! > "+b.o.State+"/pid) ; exit 0")
	b.ok(err)
	b.exit("x")
	b.kill()
	own := exec.Command("/bin/true")
	b.ok(own.Start())
	pid, err := os.ReadFile(b.o.State + "/pid")
	b.ok(err)
	b.until("the stray is gone", func() bool {
		_, err := os.Stat("/proc/" + strings.TrimSpace(string(pid)))
		return err != nil
	})
	b.ok(own.Wait())
}

// TestLinkAdoptsAndUpgrades: a new daemon gets back what runs, and a keeper of
// another build is replaced in place.
func TestLinkAdoptsAndUpgrades(t *testing.T) {
	b := newBench(t)
	b.open()
	dir, stop := b.writer("c1")
	b.ok(b.link.close(false))
	f, err := os.OpenFile(b.o.Binary, os.O_WRONLY|os.O_APPEND, 0)
	if errors.Is(err, syscall.ETXTBSY) { // the writer runs it
		data, err := os.ReadFile(b.o.Binary)
		b.ok(err)
		b.o.Binary += "2"
		b.ok(os.WriteFile(b.o.Binary, append(data, "another build"...), 0o700))
	} else {
		b.ok(err)
		_, err = f.WriteString("another build")
		b.ok(errors.Join(err, f.Close()))
	}
	there := b.open()
	defer closeHeld(there)
	if len(there) != 1 || there[0].ID != "c1" || there[0].Exit != nil || there[0].Fds[wire.FdPidfd] == 0 {
		t.Fatalf("given back: %+v", there)
	}
	w := b.link.wire
	b.ok(b.link.ping(t.Context()))
	if _, ok, _ := linux.PeekExit(b.keeper); ok || w == nil {
		t.Error("the keeper was replaced by another process")
	}
	log := filepath.Join(dir, "1.log")
	fd, err := syscall.Open(log, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_APPEND|syscall.O_CLOEXEC, 0o600)
	b.ok(err)
	b.ok(b.link.reopen(t.Context(), "c1", fd))
	_ = linux.Close(fd)
	stop()
	if e := b.exit("c1"); e.Code != 7 {
		t.Errorf("exit %+v", e)
	}
	first, err := os.ReadFile(filepath.Join(dir, wire.FdLog))
	b.ok(err)
	second, err := os.ReadFile(log)
	b.ok(err)
	b.ok(os.WriteFile(filepath.Join(dir, wire.FdLog), append(first, second...), 0o600))
	b.numbered(dir)
}

// namespaces has the keeper make a pod's namespaces, with a real program.
func (b *bench) namespaces(id string, pod *program.Pod) {
	b.t.Helper()
	prog, err := pod.Build(b.t.Context())
	b.ok(err)
	defer prog.Close()
	var want []string
	for _, kind := range pod.Offers() {
		want = append(want, string(kind))
	}
	c, err := b.link.spawn(b.t.Context(), spawn{ID: id, Kind: wire.KindPod, Program: prog, Want: want})
	b.ok(err)
	if c.Pid != 0 || len(c.Offered) != len(want) {
		b.t.Errorf("spawned %+v", c)
	}
	for kind, fd := range c.Offered {
		if l, err := os.Readlink(fmt.Sprint("/proc/self/fd/", fd)); err != nil || !strings.Contains(l, ":[") {
			b.t.Errorf("%s is %q, %v", kind, l, err)
		}
		_ = linux.Close(fd)
	}
}

// TestLinkRealKeeper starts the real binary as the daemon does: it answers, sees
// no file, has nothing but its own descriptors, and is small.
func TestLinkRealKeeper(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	bin := filepath.Join(t.TempDir(), "slipway-keeper")
	build := exec.Command("go", "build", "-o", bin, "slipway/cmd/slipway-keeper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build keeper: %v\n%s", err, out)
	}
	b := &bench{t: t, keeper: -1}
	b.o = linkOptions{State: t.TempDir(), Binary: bin, KeeperLog: -1, Log: slog.New(slog.DiscardHandler), OnExit: func(wire.Exit) {}}
	b.o.Start = func(ctx context.Context, k keeperStart) (pidfd int, err error) {
		if pidfd, err = startKeeper(ctx, k); err == nil {
			b.keeper, err = linux.Dup(pidfd)
		}
		return pidfd, err
	}
	t.Cleanup(func() { _ = b.link.close(false); b.kill() })
	b.open()
	proc := fmt.Sprint("/proc/", b.pid())
	mounts, err := os.ReadFile(proc + "/mountinfo")
	b.ok(err)
	if n := bytes.Count(mounts, []byte("\n")); n != 1 {
		t.Errorf("the keeper sees %d mounts:\n%s", n, mounts)
	}
	if exe, err := os.Readlink(proc + "/exe"); err != nil || !strings.HasPrefix(exe, "/memfd:") {
		t.Errorf("exe %q, %v", exe, err)
	}
	status, err := os.ReadFile(proc + "/status")
	b.ok(err)
	for line := range strings.Lines(string(status)) {
		var kb int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil && kb > 16<<10 {
			t.Errorf("the keeper takes %d kB", kb)
		}
	}
	r, p, err := os.Pipe()
	b.ok(err)
	defer r.Close()
	defer p.Close()
	b.ok(b.link.hold(t.Context(), "pod", map[string]int{"extra": int(p.Fd())}))
	b.namespaces("pod", &program.Pod{UTS: true, Net: true, Hostname: "h"})
	b.ok(b.link.close(false))
	data, err := os.ReadFile(bin)
	b.ok(err)
	b.ok(os.WriteFile(bin, append(data, "another build"...), 0o700))
	there := b.open() // upgraded in place, with nothing but a memfd
	defer closeHeld(there)
	if len(there) != 1 || there[0].ID != "pod" || len(there[0].Fds) != 3 {
		t.Errorf("given back: %+v", there)
	}
	b.namespaces("pod2", &program.Pod{IPC: true})
	if _, ended, err := linux.PeekExit(b.keeper); ended || err != nil {
		t.Errorf("the keeper is another process: %v", err)
	}
}
