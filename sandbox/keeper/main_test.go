package keeper

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

// The test binary is three programs: the tests, a keeper, and what runs in a container.
func TestMain(m *testing.M) {
	switch os.Getenv("SLIPWAY_TEST_ROLE") {
	case "keeper":
		runKeeper()
	case "writer":
		runWriter()
	default:
		os.Exit(m.Run())
	}
}

// runKeeper is a keeper whose programs are plain commands.
func runKeeper() {
	o := Options{
		Listener: 3, Build: "first", Starter: commands{},
		Log: log.New(os.Stderr, "keeper: ", 0), Exec: Execute,
	}
	if b := os.Getenv("SLIPWAY_TEST_BUILD"); b != "" {
		o.Build = b
	}
	if d, err := time.ParseDuration(os.Getenv("SLIPWAY_TEST_LINGER")); err == nil {
		o.Linger = d
	}
	state := -1
	for _, a := range os.Args[1:] {
		if _, err := fmt.Sscanf(a, "-state=%d", &state); err == nil {
			if o.Listener, o.Build, err = ReadState(state); err != nil {
				log.Fatal(err)
			}
		}
	}
	if err := Run(o, state); err != nil {
		log.Fatal(err)
	}
	os.Exit(0)
}

// command is a "program" of the tests: its memfd holds this as JSON, its
// descriptors are stdin, stdout and stderr.
type command struct {
	Argv, Env []string
	Ends      bool // as a pod's program: it offers, and is gone
}

type commands struct{}

func (commands) Start(_ context.Context, memfd int, fds []int, want int) (Started, error) {
	b, err := linux.ReadAt(memfd, 4096)
	if err != nil {
		return Started{}, err
	}
	var c command
	if err := json.Unmarshal(b, &c); err != nil {
		return Started{}, err
	}
	pidfd := -1
	files := make([]uintptr, 3)
	for i := range files {
		files[i] = uintptr(fds[i])
	}
	pid, err := syscall.ForkExec(c.Argv[0], c.Argv, &syscall.ProcAttr{
		Env: c.Env, Files: files, Sys: &syscall.SysProcAttr{PidFD: &pidfd, Setsid: true},
	})
	if err != nil {
		return Started{}, &StepError{Index: 3, Errno: errnoOf(err)}
	}
	s := Started{Pid: pid, Pidfd: pidfd}
	for range want {
		fd, err := duplicate(fds[0]) // a command cannot offer, and may have ended
		if err != nil {
			return s, err
		}
		s.Offered = append(s.Offered, fd)
	}
	if c.Ends {
		_, _ = syscall.Wait4(pid, nil, 0, nil)
		unix.Close(pidfd)
		s.Pid, s.Pidfd = 0, -1
	}
	return s, nil
}

// runWriter writes numbered lines to both streams until its stdin is at its
// end, then how many there were, and exits with 7.
func runWriter() {
	pause, _ := strconv.Atoi(os.Getenv("SLIPWAY_TEST_PAUSE_US"))
	size, _ := strconv.Atoi(os.Getenv("SLIPWAY_TEST_LINE"))
	filler := make([]byte, size)
	for i := range filler {
		filler[i] = 'x'
	}
	_ = unix.SetNonblock(0, true)
	n := 0
	var out, errs []byte
	put := func(fd int, b []byte) {
		for len(b) > 0 {
			k, err := unix.Write(fd, b)
			if err != nil {
				if err == unix.EINTR {
					continue
				}
				os.Exit(99)
			}
			b = b[k:]
		}
	}
	for {
		out, errs = out[:0], errs[:0]
		for range 50 {
			n++
			out = append(strconv.AppendInt(out, int64(n), 10), filler...)
			out = append(out, '\n')
			if n%10 == 0 {
				errs = append(strconv.AppendInt(errs, int64(n/10), 10), '\n')
			}
		}
		put(1, out)
		put(2, errs)
		var b [1]byte
		if k, err := unix.Read(0, b[:]); k == 0 && err == nil {
			break
		}
		if pause > 0 {
			time.Sleep(time.Duration(pause) * time.Microsecond)
		}
	}
	put(1, fmt.Appendf(nil, "end %d", n)) // without a newline
	os.Exit(7)
}

// waitFor fails the test when something does not become true.
func waitFor(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// ck fails the test on an error.
func ck(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
