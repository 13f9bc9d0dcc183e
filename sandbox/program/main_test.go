package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

// tools builds the static programs that the tests run, once.
var tools = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "slipway-program-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", dir, "./testdata/probe", "./testdata/keeper")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return "", fmt.Errorf("%w: %s", err, b)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if os.Geteuid() == 0 {
		if dir, err := tools(); err == nil {
			os.RemoveAll(dir)
		}
	}
	os.Exit(code)
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// image makes the directories of a root with the probe in it.
func image(t testing.TB) Root {
	t.Helper()
	needRoot(t)
	built, err := tools()
	if err != nil {
		t.Fatal(err)
	}
	probe := filepath.Join(built, "probe")
	dir := t.TempDir()
	for _, d := range []string{"lower/bin", "lower/etc", "lower/tmp", "lower/usr/etc", "upper", "work", "below"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(probe, dir+"/lower/bin/probe"); err != nil {
		b, _ := os.ReadFile(probe)
		if err := os.WriteFile(dir+"/lower/bin/probe", b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return Root{Lower: []string{dir + "/lower", dir + "/below"}, Upper: dir + "/upper", Work: dir + "/work"}
}

var defaultCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

const defaultCapsHex = "00000000a80425fb"

func testSpec(args ...string) *specs.Spec {
	return &specs.Spec{
		Hostname: "inside",
		Root:     &specs.Root{},
		Process: &specs.Process{
			Args: append([]string{"/bin/probe"}, args...), Env: []string{"PATH=/sbin:/bin", "SECRET=1", "GODEBUG=containermaxprocs=0,updatemaxprocs=0"}, Cwd: "/",
			Capabilities: &specs.LinuxCapabilities{Bounding: defaultCaps, Effective: defaultCaps, Permitted: defaultCaps},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/sys", Type: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: "pid"}, {Type: "ipc"}, {Type: "uts"}, {Type: "mount"}, {Type: "network"}, {Type: "cgroup"},
			},
			MaskedPaths: []string{
				"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
				"/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi", "/sys/devices/virtual/powercap",
			},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
}

// output is the pipe that a process under test writes to.
type output struct{ r, w, null int }

func newOutput(t testing.TB) *output {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	o := &output{p[0], p[1], null}
	t.Cleanup(func() { linux.CloseAll(o.r, o.w, o.null) })
	return o
}

func (o *output) stdio() Stdio { return Stdio{o.null, o.w, o.w} }

// until reads until text was seen or the end; bounded.
func (o *output) until(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	buf := make([]byte, 65536)
	end := time.Now().Add(20 * time.Second)
	for time.Now().Before(end) {
		p := []unix.PollFd{{Fd: int32(o.r), Events: unix.POLLIN}}
		if n, _ := unix.Poll(p, 100); n == 0 {
			continue
		}
		n, err := unix.Read(o.r, buf)
		if n <= 0 && err != unix.EINTR {
			return b.String()
		}
		b.Write(buf[:max(n, 0)])
		if text != "" && strings.Contains(b.String(), text) {
			return b.String()
		}
	}
	t.Fatalf("no end of output within 20 s: %q", b.String())
	return ""
}

func (o *output) all(t testing.TB) string {
	t.Helper()
	unix.Close(o.w)
	o.w = -1
	return o.until(t, "")
}

// start seals, loads and starts, as daemon and keeper do.
func start(t testing.TB, p *Program) (Child, error) {
	t.Helper()
	if raced && p.a.form.Two {
		t.Skip("two clones cannot be made by a process with the race detector: its libc registers rseq")
	}
	fd, err := p.Seal()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	l, err := Load(fd, p.Fds())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := l.Start(ctx)
	var f *Failed
	if errors.As(err, &f) {
		if f.Left != nil {
			t.Errorf("a process was left: %+v", *f.Left)
		}
		return c, p.Failure(f.Step, f.Errno)
	}
	return c, err
}

// end kills and reaps a child at the end of the test.
func end(t testing.TB, c Child) {
	t.Cleanup(func() { reapNow(c) })
}

func reapNow(c Child) {
	if c.Pid > 0 {
		_ = unix.PidfdSendSignal(c.Pidfd, unix.SIGKILL, nil, 0)
		_, _ = unix.Wait4(c.Pid, nil, 0, nil)
		unix.Close(c.Pidfd)
	}
}

// wait reaps a child and gives its status.
func wait(t testing.TB, c Child) syscall.WaitStatus {
	t.Helper()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(c.Pidfd), Events: unix.POLLIN}}, 20000); n != 1 {
		t.Fatalf("process %d does not end: %v", c.Pid, err)
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(c.Pid, &ws, 0, nil); err != nil {
		t.Fatal(err)
	}
	unix.Close(c.Pidfd)
	return syscall.WaitStatus(ws)
}

// runContainer starts a container and returns what it wrote.
func runContainer(t testing.TB, c *Container) (string, error) {
	t.Helper()
	o := newOutput(t)
	if c.Stdio == (Stdio{}) {
		c.Stdio = o.stdio()
	}
	p, err := c.Build(t.Context())
	if err != nil {
		return "", err
	}
	defer p.Close()
	ch, err := start(t, p)
	if err != nil {
		return "", err
	}
	text := o.all(t)
	wait(t, ch)
	return text, nil
}

func noCgroup() Cgroup { return Cgroup{Into: -1} }
