package cri

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/node"
	"slipway/test/streams"
)

// sessionsAtOnce is below what one pod may have.
const sessionsAtOnce = 24

// Thousands of sessions of every kind, each checked, over both transports: the
// two processes are as they were. TestSessionsLeaveNothing is the short form.
func TestManySessions(t *testing.T) {
	total, _ := strconv.Atoi(os.Getenv("SLIPWAY_SESSIONS"))
	if total == 0 {
		t.Skip("set SLIPWAY_SESSIONS to a number of sessions, such as 10000")
	}
	n := newNode(t)
	podCfg := n.PodConfig("sessions")
	pod := n.RunPod(podCfg)
	cfg := node.Container("main", "mkdir /www; echo here > /www/index.html; httpd -p 8080 -h /www; echo serving; exec cat")
	cfg.Stdin = true
	s := &sessions{node: n, pod: pod, id: n.Run(pod, podCfg, cfg), kinds: map[string]int{}}
	n.WaitLog(s.id, "serving")

	s.run(t, 200)
	before := s.settled(t, nil)
	start := time.Now()
	s.run(t, total)
	t.Logf("%d sessions in %v: %v", total, time.Since(start).Round(time.Second), s.kinds)
	after := s.settled(t, before)
	t.Logf("before %v", before)
	t.Logf("after  %v", after)
	for what, had := range before {
		if after[what] > had {
			t.Errorf("%s: %d, and there were %d", what, after[what], had)
		}
	}
}

// sessions are all of one test.
type sessions struct {
	node    *node.Node
	pod, id string

	mu    sync.Mutex
	kinds map[string]int
}

// run opens many sessions, some at a time; each must end as it should.
func (s *sessions) run(t *testing.T, total int) {
	t.Helper()
	var next, failed atomic.Int64
	var work sync.WaitGroup
	for range sessionsAtOnce {
		work.Go(func() {
			for i := next.Add(1); i <= int64(total) && failed.Load() < 20; i = next.Add(1) {
				kind, err := s.one(t.Context(), int(i))
				if err != nil {
					failed.Add(1)
					t.Errorf("session %d, %s: %v", i, kind, err)
				}
				s.mu.Lock()
				s.kinds[kind]++
				s.mu.Unlock()
			}
		})
	}
	work.Wait()
}

// one is a session whose kind follows from its number.
func (s *sessions) one(ctx context.Context, i int) (kind string, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	transport := []string{"spdy", "websocket"}[i%2]
	switch i / 2 % 4 {
	case 0:
		return "exec " + transport, s.exec(ctx, transport, streams.Want{Stdin: true, Stdout: true, Stderr: true})
	case 1:
		return "exec tty " + transport, s.exec(ctx, transport, streams.Want{Stdin: true, Stdout: true, TTY: true})
	case 2:
		return "attach " + transport, s.attach(ctx, transport, i)
	}
	return "forward " + transport, s.forward(ctx, transport)
}

func (s *sessions) open(ctx context.Context, transport, url string, w streams.Want) (*streams.Session, func(), error) {
	c, err := transports[transport](ctx, url, w)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() }) // bounds every read
	return c, func() { stop(); c.Close() }, nil
}

func (s *sessions) exec(ctx context.Context, transport string, w streams.Want) error {
	r, err := s.node.Runtime.Exec(ctx, &cri.ExecRequest{
		ContainerId: s.id, Cmd: []string{"sh", "-c", "read l; echo got $l; exit 3"},
		Stdin: w.Stdin, Stdout: w.Stdout, Stderr: w.Stderr, Tty: w.TTY,
	})
	if err != nil {
		return err
	}
	c, end, err := s.open(ctx, transport, r.GetUrl(), w)
	if err != nil {
		return err
	}
	defer end()
	if _, err := io.WriteString(c.In, "hello\n"); err != nil {
		return err
	}
	out, _, code, err := c.Finish()
	if err == nil && (code != 3 || !strings.Contains(out, "got hello")) {
		err = fmt.Errorf("%q, code %d", out, code)
	}
	return err
}

// attach says a line of its own and goes when it comes back.
func (s *sessions) attach(ctx context.Context, transport string, i int) error {
	r, err := s.node.Runtime.Attach(ctx, &cri.AttachRequest{ContainerId: s.id, Stdin: true, Stdout: true})
	if err != nil {
		return err
	}
	c, end, err := s.open(ctx, transport, r.GetUrl(), streams.Want{Stdin: true, Stdout: true})
	if err != nil {
		return err
	}
	defer end()
	line := fmt.Sprintf("line %d of %s\n", i, transport)
	if _, err := io.WriteString(c.In, line); err != nil {
		return err
	}
	var got strings.Builder
	for b := make([]byte, 4096); !strings.Contains(got.String(), line); {
		k, err := c.Out.Read(b)
		got.Write(b[:k])
		if err != nil {
			return fmt.Errorf("%q: %w", got.String(), err)
		}
	}
	return nil
}

func (s *sessions) forward(ctx context.Context, transport string) error {
	r, err := s.node.Runtime.PortForward(ctx, &cri.PortForwardRequest{PodSandboxId: s.pod, Port: []int32{8080}})
	if err != nil {
		return err
	}
	dial := streams.Forward
	if transport == "websocket" {
		dial = streams.Tunnel
	}
	f, err := dial(ctx, r.GetUrl())
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer func() { stop(); f.Close() }()
	data, _, err := f.Connect(8080)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(data, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return err
	}
	b, err := io.ReadAll(data)
	if err == nil && !strings.HasSuffix(string(b), "here\n") {
		err = fmt.Errorf("answer %q", b)
	}
	return errors.Join(err, data.Close())
}

// settled counts what the daemon and the keeper hold, when it is no more than
// there was, or else after half a minute; nil asks for as little as there gets.
func (s *sessions) settled(t *testing.T, was map[string]int) map[string]int {
	t.Helper()
	least := map[string]int{}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		now := s.held(t)
		done := was != nil
		for what, n := range now {
			if had, ok := least[what]; !ok || n < had {
				least[what] = n
			}
			done = done && least[what] <= was[what]
		}
		if done || was == nil && time.Until(end) < 20*time.Second {
			break
		}
	}
	return least
}

// held counts the goroutines of the daemon and the descriptors of both.
func (s *sessions) held(t *testing.T) map[string]int {
	t.Helper()
	r, err := s.node.Runtime.Status(t.Context(), true)
	must(t, err)
	goroutines, err := strconv.Atoi(r.GetInfo()["goroutines"])
	must(t, err)
	all := map[string]int{"goroutines of the daemon": goroutines}
	for name, pid := range map[string]int{"daemon": s.node.Daemon.Pid(), "keeper": s.node.KeeperPid()} {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		must(t, err)
		all["descriptors of the "+name] = len(fds)
	}
	return all
}
