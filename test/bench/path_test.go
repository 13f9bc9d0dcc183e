package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"slipway/test/gate"
	"slipway/test/node"
)

// lab is the private machine that this package runs on.
var lab *node.Lab

func TestMain(m *testing.M) {
	gate.Entry()
	os.Exit(node.Run(func(l *node.Lab) int {
		lab = l
		return m.Run()
	}))
}

// path is what one request cost.
type path struct {
	messages int // from the daemon to the keeper
	programs int // executed, by the keeper's children or by the daemon
	passing  int // processes that were seen at work and are gone
	stay     int // processes more than before
}

func (p path) String() string {
	return fmt.Sprintf("%d messages, %d programs executed, %d processes that stay, %d that passed", p.messages, p.programs, p.stay, p.passing)
}

// rounds is how often a path may cost more than it should: a call that a signal
// interrupts at the gate shows twice. A path that is too long is so each time.
const rounds = 3

// TestPath holds the table of what a request may cost: no process but those
// that the container is made of stays, and the daemon says one thing to the
// keeper.
func TestPath(t *testing.T) {
	n := lab.NewGated(t)
	warm := n.Pod("warm") // the keeper is there, profiles are compiled
	n.Exec(n.Run(warm, n.PodConfig("warm"), node.Container("warm", "sleep 600")), "true")

	for round := 1; ; round++ {
		err := measureAll(n, fmt.Sprintf("path%d", round))
		if err == nil {
			return
		}
		if round == rounds {
			t.Fatal(err)
		}
		t.Log(err)
	}
}

// measureAll takes a pod through its life. passing is the most that is allowed,
// everything else is exact.
func measureAll(n *node.Node, name string) error {
	var pod, ctr string
	podCfg, cfg := n.PodConfig(name), node.Container(name, "")
	cfg.Command = []string{"/bin/sleep", "600"} // no search of $PATH: each try would be a program
	var failed error
	for _, c := range []struct {
		name string
		do   func()
		want path
	}{
		{"RunPodSandbox", func() { pod = n.RunPod(podCfg) }, path{messages: 1, passing: 1}},
		{"CreateContainer and StartContainer", func() { ctr = n.Run(pod, podCfg, cfg) }, path{messages: 1, programs: 1, stay: 1, passing: 1}},
		{"ExecSync", func() { n.Exec(ctr, "/bin/true") }, path{messages: 1, programs: 1, passing: 2}},
		{"ContainerStatus", func() { n.Status(ctr) }, path{}},
	} {
		got := measure(n, c.do)
		n.T.Logf("%s: %v", c.name, got)
		if got.messages != c.want.messages || got.programs != c.want.programs || got.stay != c.want.stay || got.passing > c.want.passing {
			failed = errors.Join(failed, fmt.Errorf("%s: %v; want: %v", c.name, got, c.want))
		}
	}
	return failed
}

// measure counts while a request is served. A process that passes shows when
// it makes a system call that the gate knows, as all of ours do.
func measure(n *node.Node, do func()) path {
	n.T.Helper()
	var mu sync.Mutex
	var p path
	seen := map[int]bool{}
	before := descendants(n)
	n.Gate.Watch(func(e gate.Event) syscall.Errno {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case e.Call == "send" && !e.Keeper:
			p.messages++
		case e.Call == "exec":
			p.programs++
		}
		if group := threadGroup(e.Pid); group != 0 && !slices.Contains(before, group) {
			seen[group] = true
		}
		return 0
	})
	do()
	// What passes may take a moment to be gone.
	var after []int
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		after = descendants(n)
		if again := descendants(n); slices.Equal(after, again) && !zombies(after) || time.Now().After(end) {
			break
		}
	}
	n.Gate.Watch(nil)
	mu.Lock()
	defer mu.Unlock()
	p.stay = len(after) - len(before)
	for pid := range seen {
		if !slices.Contains(after, pid) {
			p.passing++
		}
	}
	return p
}

// descendants are the daemon, the keeper and all that they have started.
func descendants(n *node.Node) []int {
	parents := map[int]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, s := range stats {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(s)))
		if f := statFields(pid); len(f) > 1 {
			parents[pid], _ = strconv.Atoi(string(f[1]))
		}
	}
	keeper := n.KeeperPid()
	var all []int
	for pid := range parents {
		for at, depth := pid, 0; at > 1 && depth < 100; at, depth = parents[at], depth+1 {
			if at == keeper || at == n.Daemon.Pid() {
				all = append(all, pid)
				break
			}
		}
	}
	slices.Sort(all)
	return all
}

func zombies(pids []int) bool {
	return slices.ContainsFunc(pids, func(pid int) bool {
		f := statFields(pid)
		return len(f) > 0 && string(f[0]) == "Z"
	})
}

// statFields are those of /proc/<pid>/stat after the name: state, parent, ...
func statFields(pid int) [][]byte {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if i := bytes.LastIndexByte(b, ')'); i >= 0 {
		return bytes.Fields(b[i+1:])
	}
	return nil
}

// threadGroup is the process of a thread that waits at the gate.
func threadGroup(tid int) int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	_, line, _ := bytes.Cut(status, []byte("\nTgid:"))
	line, _, _ = bytes.Cut(line, []byte("\n"))
	pid, _ := strconv.Atoi(string(bytes.TrimSpace(line)))
	return pid
}
