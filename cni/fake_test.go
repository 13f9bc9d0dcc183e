package cni_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway/cni"
)

// The test binary is the fake plugin too: run under a name that begins with
// "fake-" it does what the "script" in its configuration says.
func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); strings.HasPrefix(name, "fake-") {
		// Not os.Exit: with the race detector that sleeps for a second.
		_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(fakePlugin(name)), 0, 0)
	}
	os.Exit(m.Run())
}

// script says what a fake plugin does, for each command. Log is a directory
// that gets one file a call.
type script struct {
	Log string         `json:"log"`
	Do  map[string]act `json:"do,omitempty"`
}

// act is one command's behaviour. Acts that hang do so for a minute at most:
// nothing of a test outlives it for long, whatever goes wrong.
type act struct {
	Stdout  string `json:"stdout,omitempty"`
	Stderr  string `json:"stderr,omitempty"`
	Exit    int    `json:"exit,omitempty"`
	Flood   int    `json:"flood,omitempty"`   // MiB on stdout
	Noise   int    `json:"noise,omitempty"`   // MiB on stderr
	Hang    bool   `json:"hang,omitempty"`    // ignores SIGTERM, with a child that does too
	Linger  bool   `json:"linger,omitempty"`  // ends, but a child keeps stdout open
	FailFor int    `json:"failFor,omitempty"` // exits 1 for the first calls of this command
	Gate    string `json:"gate,omitempty"`    // waits until this file is there
}

// call is what a fake plugin saw.
type call struct {
	Plugin, Command string
	Env             []string
	Conf            map[string]any
	Pid, Child      int
}

func fakePlugin(name string) int {
	in, err := io.ReadAll(os.Stdin)
	if err != nil {
		return 99
	}
	if name == "fake-daemon" {
		return fakeDaemon(in)
	}
	if name == "fake-child" {
		signal.Ignore(syscall.SIGTERM)
		time.Sleep(time.Minute)
		return 0
	}
	var conf struct {
		Script script `json:"script"`
	}
	c := call{Plugin: name, Command: os.Getenv("CNI_COMMAND"), Env: os.Environ(), Pid: os.Getpid()}
	if json.Unmarshal(in, &conf) != nil || json.Unmarshal(in, &c.Conf) != nil {
		return 98
	}
	a := conf.Script.Do[c.Command]
	if a.Hang || a.Linger {
		c.Child = fakeChild()
	}
	before, _ := filepath.Glob(filepath.Join(conf.Script.Log, "*-"+c.Command+"-"+name))
	logCall(conf.Script.Log, c)
	if len(before) < a.FailFor {
		fmt.Fprint(os.Stderr, "not yet")
		return 1
	}
	return play(a, c.Command)
}

// fakeDaemon attaches a pod; its input is the options and the pod.
func fakeDaemon(in []byte) int {
	var job struct {
		Options cni.Options
		Pod     cni.Pod
	}
	if json.Unmarshal(in, &job) != nil {
		return 97
	}
	n, err := cni.New(job.Options)
	if err != nil {
		return 96
	}
	attempt, err := n.Attempt(job.Pod)
	if err != nil {
		return 95
	}
	_, _ = n.Attach(context.Background(), job.Pod, attempt)
	return 0
}

func fakeChild() int {
	self, _ := os.Executable()
	child := &exec.Cmd{Path: self, Args: []string{"fake-child"}, Stdout: os.Stdout, Stderr: os.Stderr}
	if child.Start() != nil {
		return -1
	}
	return child.Process.Pid
}

func logCall(dir string, c call) {
	data, _ := json.Marshal(c)
	name := fmt.Sprintf("%020d-%s-%s", time.Now().UnixNano(), c.Command, c.Plugin)
	tmp := filepath.Join(dir, "tmp."+name)
	_ = os.WriteFile(tmp, data, 0o600)
	_ = os.Rename(tmp, filepath.Join(dir, name))
}

func play(a act, command string) int {
	for i := 0; a.Gate != "" && i < 6000; i++ {
		if _, err := os.Stat(a.Gate); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if a.Hang {
		signal.Ignore(syscall.SIGTERM)
		time.Sleep(time.Minute)
	}
	mib := []byte(strings.Repeat("x", 1<<20))
	for range a.Flood {
		if _, err := os.Stdout.Write(mib); err != nil {
			return 1
		}
	}
	for range a.Noise {
		_, _ = os.Stderr.Write(mib)
	}
	fmt.Fprint(os.Stderr, a.Stderr)
	if a.Stdout == "" && a.Exit == 0 && command == "ADD" {
		a.Stdout = goodResult
	}
	fmt.Fprint(os.Stdout, a.Stdout)
	return a.Exit
}

const goodResult = `{"cniVersion":"1.0.0","interfaces":[{"name":"br0"},{"name":"eth0","sandbox":"/ns"}],
 "ips":[{"interface":1,"address":"10.1.0.5/24","gateway":"10.1.0.1"},{"interface":1,"address":"fd00::5/64"}]}`
