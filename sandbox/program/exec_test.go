package program

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// waiting starts a container that waits for SIGTERM.
func waiting(t *testing.T, c *Container) Child {
	t.Helper()
	o := newOutput(t)
	c.Spec.Process.Args = []string{"/bin/probe", "wait"}
	c.Stdio = o.stdio()
	p, err := c.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ch, err := start(t, p)
	if err != nil {
		t.Fatal(err)
	}
	end(t, ch)
	o.until(t, "ready")
	return ch
}

func TestExec(t *testing.T) {
	init := waiting(t, &Container{Spec: testSpec(), Root: image(t), PidInit: -1, Cgroup: noCgroup()})
	run := func(change func(*Exec)) (string, error) {
		o := newOutput(t)
		e := &Exec{Process: testSpec("facts", "ls=/proc").Process, Init: init.Pidfd, Cgroup: noCgroup(), Stdio: o.stdio(), Devpts: -1, NoFile: &[2]uint64{1024, 1024}}
		change(e)
		p, err := e.Build(t.Context())
		if err != nil {
			t.Fatal(err)
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
	const none = "0000000000000000"
	out, err := run(func(*Exec) {})
	if err != nil {
		t.Fatal(err)
	}
	hasAll(t, out, "fds=0 1 2\n", "CapEff="+defaultCapsHex, "SigIgn="+none, "SigBlk="+none, "Umask=0022", "host=inside", "leader=true",
		"oom_score_adj=0", "Max open files 1024 1024", "Seccomp=0")
	if strings.Contains(out, "pid=1 ") || strings.Contains(out, fmt.Sprint(" ", os.Getpid(), " ")) {
		t.Errorf("not in the container's pid namespace:\n%s", out)
	}
	for _, nnp := range []bool{true, false} {
		out, err = run(func(e *Exec) {
			e.Process.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{9}}
			e.Process.NoNewPrivileges = nnp
			e.Filter = allow
		})
		if err != nil {
			t.Fatal(err)
		}
		hasAll(t, out, "Uid=1000 1000 1000 1000", "Groups=9", "CapEff="+none, "CapPrm="+none, "Seccomp=2", fmt.Sprint("NoNewPrivs=", map[bool]int{true: 1}[nnp]))
	}
	_, err = run(func(e *Exec) { e.Process.Args = []string{"nothing"} })
	var se *StepError
	if !errors.As(err, &se) || se.Step != "exec" || se.Path != "nothing" || !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	_, err = run(func(e *Exec) { e.Process.Cwd = "/proc/self/fd/9" })
	if !errors.As(err, &se) || se.Step != "open working directory" || se.Path != "/proc/self/fd/9" {
		t.Error(err)
	}
	_ = unix.PidfdSendSignal(init.Pidfd, unix.SIGTERM, nil, 0)
	wait(t, Child{Pid: init.Pid, Pidfd: mustDup(t, init.Pidfd)})
	if _, err = run(func(*Exec) {}); !errors.Is(err, unix.ESRCH) {
		t.Errorf("into a container that has ended: %v", err)
	}
}

func mustDup(t *testing.T, fd int) int {
	t.Helper()
	d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// What the second child still has in its memory when it becomes visible: it is
// made to stop there by a step that waits.
func TestVisibleChildHasNothing(t *testing.T) {
	needRoot(t)
	if raced {
		t.Skip("two clones cannot be made by a process with the race detector: its libc registers rseq")
	}
	a := newAssembly()
	a.second()
	a.split()
	a.about("").call("hold", unix.SYS_PPOLL, 0, 0, a.words(1, 0), 0, 0)
	argv := a.pointers([]string{"/proc/nothing"})
	a.call("exec", unix.SYS_EXECVE, "/proc/nothing", argv, argv)
	p := newProgram(a)
	done := make(chan error, 1)
	go func() {
		_, err := start(t, p)
		done <- err
	}()
	maps, links := watchChild(t)
	if err := <-done; !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	lines := strings.Split(strings.TrimSpace(maps), "\n")
	if len(lines) > 9 || strings.Contains(maps, "[heap]") || strings.Contains(maps, "[stack]") {
		t.Errorf("mapped:\n%s", maps)
	}
	text := 0
	for _, l := range lines {
		var lo, hi uint64
		if n, _ := fmt.Sscanf(l, "%x-%x", &lo, &hi); n == 2 && strings.Contains(l, " r-xp ") && strings.Contains(l, "/") {
			text += int(hi - lo)
		}
	}
	if text > 2*os.Getpagesize() {
		t.Errorf("%d bytes of our text are left:\n%s", text, maps)
	}
	if len(links) > 3 {
		t.Errorf("descriptors: %v", links)
	}
}

// watchChild finds the child that has few mappings, and looks at it.
func watchChild(t *testing.T) (maps string, links []string) {
	t.Helper()
	for range 2000 {
		kids, _ := os.ReadFile("/proc/self/task/" + fmt.Sprint(unix.Gettid()) + "/children")
		all := strings.Fields(string(kids))
		ts, _ := os.ReadDir("/proc/self/task")
		for _, e := range ts {
			b, _ := os.ReadFile("/proc/self/task/" + e.Name() + "/children")
			all = append(all, strings.Fields(string(b))...)
		}
		for _, pid := range all {
			b, _ := os.ReadFile("/proc/" + pid + "/syscall")
			if !strings.HasPrefix(string(b), fmt.Sprint(unix.SYS_PPOLL)+" ") {
				continue
			}
			m, _ := os.ReadFile("/proc/" + pid + "/maps")
			es, _ := os.ReadDir("/proc/" + pid + "/fd")
			for _, e := range es {
				links = append(links, e.Name())
			}
			return string(m), links
		}
	}
	t.Fatal("the child was not seen")
	return "", nil
}
