package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	fake "slipway/test/systemd"
)

// gateEnv makes the test binary a process that comes to the gate on descriptor
// 3, as program's steps do, and says how that went.
const gateEnv = "SLIPWAY_TEST_GATE"

func comeToGate() {
	_, _ = unix.SendmsgN(3, []byte("1"), nil, nil, unix.MSG_NOSIGNAL)
	n, _, err := unix.Recvfrom(3, make([]byte, 1), 0)
	fmt.Println("answer", n, err)
	_, err = unix.SendmsgN(3, []byte("2"), nil, nil, unix.MSG_NOSIGNAL)
	if err != nil {
		fmt.Println("refused", err)
		os.Exit(1)
	}
	fmt.Println("passed")
	time.Sleep(time.Minute)
	os.Exit(0)
}

// visitor starts a process in the group, with its end of the gate.
func visitor(t *testing.T, g *Group, gate *Gate) (*exec.Cmd, io.Reader) {
	t.Helper()
	into, procs, err := g.Join()
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(into, procs)
	fd, err := unix.FcntlInt(uintptr(gate.Fd()), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	end := os.NewFile(uintptr(fd), "gate")
	defer end.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), gateEnv+"=1")
	cmd.ExtraFiles = []*os.File{end}
	if into >= 0 {
		cmd.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: into}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, out
}

func TestGate(t *testing.T) {
	tree, f, slice := scopes(t)
	for name, c := range map[string]struct {
		faults fake.Faults
		says   string // the process
		err    string // Close; "" = none
	}{
		"let in":  {fake.Faults{}, "passed", ""},
		"late":    {fake.Faults{OnStart: func(fake.Unit) { time.Sleep(50 * time.Millisecond) }}, "passed", ""},
		"refused": {fake.Faults{Result: "failed"}, "refused", `job ended with "failed"`},
		"hung up": {fake.Faults{HangUp: "StartTransientUnit"}, "refused", "connection was lost"},
	} {
		t.Run(name, func(t *testing.T) {
			f.Set(c.faults)
			defer f.Set(fake.Faults{})
			g, err := tree.Create(context.Background(), Place(slice, "gate"), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			gate, err := g.Gate(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			cmd, out := visitor(t, g, gate)
			if two, ok := tree.index("pids"), tree.two >= 0; two >= 0 && !ok {
				t.Skip("a visitor of this test cannot join v1 groups, and there is no cgroup2 tree")
			}
			waitLine(t, out, c.says)
			err = gate.Close()
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("close: %v, want %q", err, c.err)
			}
			u, ok := f.Unit("slipway-gate.scope")
			if c.err == "" && (!ok || fmt.Sprint(u.Props["PIDs"]) != fmt.Sprintf("[%d]", cmd.Process.Pid)) {
				t.Errorf("unit %v around %v, want process %d", ok, u.Props["PIDs"], cmd.Process.Pid)
			}
			f.Set(fake.Faults{})
			if err := errors.Join(g.Kill(context.Background()), g.Remove(context.Background())); err != nil {
				t.Error(err)
			}
			if left := f.Units(); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// Nobody comes, or whoever came has died: Close does not wait, and is no error.
func TestGateWithoutVisitor(t *testing.T) {
	tree, f, slice := scopes(t)
	g, err := tree.Create(context.Background(), Place(slice, "none"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	gate, err := g.Gate(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := gate.Close(); err != nil {
		t.Errorf("nobody came: %v", err)
	}
	if err := gate.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}

	if gate, err = g.Gate(context.Background()); err != nil {
		t.Fatal(err)
	}
	f.Set(fake.Faults{Silent: true})
	cmd, _ := visitor(t, g, gate)
	waitFor(t, "a scope is asked for", func() bool { return len(f.Units()) == 1 })
	_ = cmd.Process.Kill()
	if err := gate.Close(); err != nil {
		t.Errorf("it died while systemd was busy: %v", err)
	}
	f.Set(fake.Faults{})
	if err := g.Remove(context.Background()); err != nil || len(f.Units()) > 0 {
		t.Errorf("remove: %v, left %q", err, f.Units())
	}
}

// A group that systemd has no part in has no gate.
func TestNoGate(t *testing.T) {
	tree, at := testTree(t)
	gate, err := mustCreate(t, tree, at+"/x").Gate(context.Background())
	if gate != nil || err != nil || gate.Fd() != 0 || gate.Limit() != 0 || gate.Close() != nil {
		t.Errorf("gate %v, %v", gate, err)
	}
}
