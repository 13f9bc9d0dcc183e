package machine

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The test binary is itself the program that runs on the machine: it is
// started again by Run, with one of these tasks.
func TestMain(m *testing.M) {
	switch task := os.Getenv("MACHINE_TASK"); task {
	case "":
		os.Exit(m.Run())
	default:
		os.Exit(Run(func(_ context.Context, mc *Machine) int { return inside(task, mc) }))
	}
}

func inside(task string, m *Machine) int {
	switch task {
	case "look":
		links, _ := net.Interfaces()
		host, _ := os.Hostname()
		entries, _ := os.ReadDir("/run")
		fmt.Printf("pid %d, %d links, up %v, host %s, %d in /run, dir %s\n",
			os.Getpid(), len(links), links[0].Flags&net.FlagUp != 0, host, len(entries), m.Dir)
	case "orphan":
		// A process in the background must not outlive the machine, and a
		// cgroup of it must go too.
		dir := filepath.Join(Hierarchies(m.Cgroup)[0], "child")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			fmt.Println(err)
			return 2
		}
		cmd := exec.Command("sh", "-c", "echo 0 > "+dir+"/cgroup.procs; sleep 987 >/dev/null 2>&1 & sleep 0.1")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Printf("%v: %s\n", err, out)
			return 2
		}
		fmt.Println("cgroup", dir)
		return 3
	}
	return 0
}

func runTask(t *testing.T, task string) (string, int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), "MACHINE_TASK="+task)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestMachineIsPrivateAndCleansUp(t *testing.T) {
	out, code := runTask(t, "look")
	if code != 0 || !strings.Contains(out, "1 links, up true, host machine, 0 in /run") {
		t.Fatalf("status %d: %s", code, out)
	}
	_, dir, _ := strings.Cut(strings.TrimSpace(out), "dir ")
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("directory %q is still there: %v", dir, err)
	}
}

func TestNothingOutlivesTheMachine(t *testing.T) {
	out, code := runTask(t, "orphan")
	if code != 3 {
		t.Fatalf("status %d, want that of the program, 3: %s", code, out)
	}
	_, dir, _ := strings.Cut(strings.TrimSpace(out), "cgroup ")
	if _, err := os.Stat(filepath.Dir(dir)); !os.IsNotExist(err) {
		t.Errorf("cgroup %q is still there: %v", filepath.Dir(dir), err)
	}
}
