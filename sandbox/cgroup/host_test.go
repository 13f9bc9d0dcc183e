package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hogEnv makes the test binary a process that takes that many MiB and stays.
const hogEnv = "SLIPWAY_TEST_HOG"

func TestMain(m *testing.M) {
	if mib, err := strconv.Atoi(os.Getenv(hogEnv)); err == nil {
		hog(min(mib, 256))
	}
	if os.Getenv(gateEnv) != "" {
		comeToGate()
	}
	os.Exit(m.Run())
}

func hog(mib int) {
	memory, err := unix.Mmap(-1, 0, mib<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		fmt.Println("mmap:", err)
		os.Exit(3)
	}
	for i := 0; i < len(memory); i += 4096 {
		memory[i] = 1
	}
	fmt.Println("full")
	time.Sleep(time.Minute)
	os.Exit(0)
}

var testPaths atomic.Int64

// testTree is the host's tree and a parent path of this test alone, removed with
// all that is in it at the end.
func testTree(t *testing.T) (*Tree, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	tree, err := New(Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Patience: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	at := fmt.Sprintf("/slipway-test-%d-%d", os.Getpid(), testPaths.Add(1))
	t.Cleanup(func() {
		defer tree.Close()
		g, err := tree.Open(at)
		if errors.Is(err, ErrNotFound) {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		defer g.Close()
		if err := errors.Join(g.Kill(context.Background()), g.Remove(context.Background())); err != nil {
			t.Error("clean up:", err)
		}
	})
	return tree, at
}

// start runs a command whose first process joined g as a container's does: by
// CLONE_INTO_CGROUP, and by writing "0" to each passed file before exec. Its
// output can be read from the returned pipe.
func start(t *testing.T, g *Group, env []string, command ...string) (*exec.Cmd, io.Reader) {
	t.Helper()
	into, procs, err := g.Join()
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(into, procs)
	script := `for f in $FDS; do echo 0 > /proc/self/fd/$f || exit 9; done; exec "$@"`
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "sh"}, command...)...)
	var fds []string
	for i, fd := range procs {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(dup), "cgroup.procs")
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		fds = append(fds, strconv.Itoa(i+3))
	}
	cmd.Env = append(os.Environ(), "FDS="+strings.Join(fds, " "))
	cmd.Env = append(cmd.Env, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if into >= 0 {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, into
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = g.Thaw()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, out
}

// waitFor polls a condition for at most half a minute: machines are slow.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never happened: ", what)
		}
	}
}

// waitLine reads until the process has said something.
func waitLine(t *testing.T, out io.Reader, want string) {
	t.Helper()
	var got []byte
	buf := make([]byte, 64)
	for !strings.Contains(string(got), want) {
		n, err := out.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil {
			t.Fatalf("process said %q, then %v", got, err)
		}
	}
}

// mustCreate makes a group under the test's own parent.
func mustCreate(t *testing.T, tree *Tree, path string) *Group {
	t.Helper()
	g, err := tree.Create(context.Background(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return g
}

// exists tells whether a path is there in any hierarchy.
func exists(t *testing.T, tree *Tree, path string) bool {
	t.Helper()
	g, err := tree.Open(path)
	if errors.Is(err, ErrNotFound) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = g.Close()
	return true
}
