package cri

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/node"
	"slipway/test/streams"
)

// transports of a session of exec or attach.
var transports = map[string]func(ctx context.Context, url string, w streams.Want) (*streams.Session, error){
	"spdy": streams.SPDY,
	"websocket": func(ctx context.Context, url string, w streams.Want) (*streams.Session, error) {
		return streams.WebSocket(ctx, url, streams.V5, w)
	},
}

// client is a session whose every wait is bounded.
type client struct {
	*streams.Session
	t *testing.T
}

func open(t *testing.T, transport, url string, w streams.Want) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	s, err := transports[transport](ctx, url, w)
	must(t, err)
	limit := time.AfterFunc(time.Minute, func() { s.Close() })
	t.Cleanup(func() { limit.Stop(); s.Close() })
	return &client{s, t}
}

func startExec(n *node.Node, transport, id string, w streams.Want, cmd ...string) *client {
	n.T.Helper()
	r, err := n.Runtime.Exec(n.T.Context(), &cri.ExecRequest{
		ContainerId: id, Cmd: cmd, Stdin: w.Stdin, Stdout: w.Stdout, Stderr: w.Stderr, Tty: w.TTY,
	})
	must(n.T, err)
	return open(n.T, transport, r.GetUrl(), w)
}

func startAttach(n *node.Node, transport, id string, w streams.Want) *client {
	n.T.Helper()
	r, err := n.Runtime.Attach(n.T.Context(), &cri.AttachRequest{
		ContainerId: id, Stdin: w.Stdin, Stdout: w.Stdout, Stderr: w.Stderr, Tty: w.TTY,
	})
	must(n.T, err)
	return open(n.T, transport, r.GetUrl(), w)
}

// until reads output until a text has come.
func (c *client) until(text string) string {
	c.t.Helper()
	var got strings.Builder
	b := make([]byte, 4096)
	for !strings.Contains(got.String(), text) {
		k, err := c.Out.Read(b)
		got.Write(b[:k])
		if err != nil {
			c.t.Fatalf("no %q in %q: %v", text, got.String(), err)
		}
	}
	return got.String()
}

func (c *client) say(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.In, text); err != nil {
		c.t.Fatal(err)
	}
}

// askUntil repeats a line until another client, which may not be there yet, sees
// the answer.
func (c *client) askUntil(line string, other *client) {
	c.t.Helper()
	seen := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		for {
			select {
			case <-seen:
				return
			case <-time.After(50 * time.Millisecond):
				_, _ = io.WriteString(c.In, line+"\n")
			}
		}
	})
	other.until(line)
	close(seen)
	work.Wait()
}

// both runs a test over both transports, on one node.
func both(t *testing.T, n *node.Node, test func(t *testing.T, n *node.Node, transport string)) {
	for transport := range transports {
		t.Run(transport, func(t *testing.T) {
			inner := *n
			inner.T = t
			test(t, &inner, transport)
		})
	}
}

func TestExecStreams(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("exec")
	id := n.Run(n.RunPod(podCfg), podCfg, node.Container("main", "sleep 1000"))
	all := streams.Want{Stdin: true, Stdout: true, Stderr: true}
	both(t, n, func(t *testing.T, n *node.Node, transport string) {
		c := startExec(n, transport, id, all, "sh", "-c", "cat; echo wrong >&2; exit 3")
		text := strings.Repeat("0123456789abcdef", 50_000)
		go func() {
			_, _ = io.WriteString(c.In, text)
			_ = c.In.Close()
		}()
		out, errs, code, err := c.Finish()
		if out != text || errs != "wrong\n" || code != 3 || err != nil {
			t.Errorf("%d bytes, %q, code %d, %v", len(out), errs, code, err)
		}

		c = startExec(n, transport, id, streams.Want{Stdout: true}, "sh", "-c", "kill -9 $$")
		if _, _, code, err := c.Finish(); code != 137 || err != nil {
			t.Errorf("killed: code %d, %v", code, err)
		}

		c = startExec(n, transport, id, streams.Want{Stdout: true}, "/no/such/command")
		if _, _, _, err := c.Finish(); err == nil || !strings.Contains(err.Error(), `/no/such/command: no such file`) {
			t.Errorf("a missing command: %v", err)
		}

		// The end of a command is the end of its output: nobody waits for more.
		start := time.Now()
		for range 10 {
			c = startExec(n, transport, id, streams.Want{Stdout: true}, "echo", "hi")
			if out, _, _, err := c.Finish(); out != "hi\n" || err != nil {
				t.Errorf("%q, %v", out, err)
			}
		}
		if d := time.Since(start); d > 15*time.Second {
			t.Errorf("10 commands took %v", d)
		}

		// What a command leaves behind does not hold up the end (CVE-2026-53495).
		start = time.Now()
		c = startExec(n, transport, id, streams.Want{Stdout: true}, "sh", "-c", "sleep 100 & echo hi")
		if out, _, _, err := c.Finish(); out != "hi\n" || err != nil || time.Since(start) > 30*time.Second {
			t.Errorf("%q, %v after %v", out, err, time.Since(start))
		}
	})
}

func TestExecTerminal(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("tty")
	id := n.Run(n.RunPod(podCfg), podCfg, node.Container("main", "sleep 1000"))
	both(t, n, func(t *testing.T, n *node.Node, transport string) { terminal(t, n, transport, id) })
}

func terminal(t *testing.T, n *node.Node, transport, id string) {
	want := streams.Want{Stdin: true, Stdout: true, TTY: true}
	c := startExec(n, transport, id, want, "sh")
	must(t, c.Resize(33, 99))
	c.say("tty; while [ \"$(stty size)\" != '33 99' ]; do :; done; echo si\"\"zed\n")
	if got := c.until("sized"); !strings.Contains(got, "/dev/pts/") {
		t.Errorf("%q", got)
	}
	must(t, c.Resize(40, 120))
	c.say("while [ \"$(stty size)\" != '40 120' ]; do :; done; echo ag\"\"ain\n")
	c.until("again")
	c.say("exit 5\n")
	if _, _, code, err := c.Finish(); code != 5 || err != nil {
		t.Errorf("code %d, %v", code, err)
	}

	// The end of input ends a shell; a client that goes hangs up.
	c = startExec(n, transport, id, want, "sh")
	c.until("# ")
	must(t, c.In.Close())
	if _, _, code, err := c.Finish(); code != 0 || err != nil {
		t.Errorf("end of input: code %d, %v", code, err)
	}
	name := "/tmp/hup-" + transport
	c = startExec(n, transport, id, want, "sh", "-c", "trap 'echo > "+name+"; exit' HUP; echo re''ady; while :; do sleep 0.05; done")
	c.until("ready")
	c.Close()
	n.Exec(id, "sh", "-c", "i=0; while [ ! -e "+name+" ] && [ $i -lt 200 ]; do sleep 0.05; i=$((i+1)); done; cat "+name)
}

func TestExecRefused(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("refused")
	pod := n.RunPod(podCfg)
	id := n.Run(pod, podCfg, node.Container("main", "sleep 1000"))
	ended := n.Run(pod, podCfg, node.Container("ended", "true"))
	n.WaitState(ended, cri.ContainerState_CONTAINER_EXITED)
	for name, tt := range map[string]struct {
		req  *cri.ExecRequest
		want string
	}{
		"tty and stderr": {&cri.ExecRequest{ContainerId: id, Cmd: []string{"ls"}, Tty: true, Stdout: true, Stderr: true}, "InvalidArgument"},
		"no stream":      {&cri.ExecRequest{ContainerId: id, Cmd: []string{"ls"}}, "InvalidArgument"},
		"no command":     {&cri.ExecRequest{ContainerId: id, Stdout: true}, "InvalidArgument"},
		"ended":          {&cri.ExecRequest{ContainerId: ended, Cmd: []string{"ls"}, Stdout: true}, "FailedPrecondition"},
		"unknown":        {&cri.ExecRequest{ContainerId: "nope", Cmd: []string{"ls"}, Stdout: true}, "NotFound"},
	} {
		if _, err := n.Runtime.Exec(t.Context(), tt.req); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	_, err := n.Runtime.Attach(t.Context(), &cri.AttachRequest{ContainerId: id, Stdin: true, Stdout: true})
	if err == nil || !strings.Contains(err.Error(), "InvalidArgument") {
		t.Errorf("attach to no input: %v", err)
	}
}

func TestAttach(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("attach")
	pod := n.RunPod(podCfg)
	both(t, n, func(t *testing.T, n *node.Node, transport string) {
		cfg := node.Container("main-"+transport, `while read -r l; do [ "$l" = end ] && exit 6; echo "err $l" >&2; echo "got $l"; done; echo EOF`)
		cfg.Stdin = true
		id := n.Run(pod, podCfg, cfg)
		all := streams.Want{Stdin: true, Stdout: true, Stderr: true}
		first := startAttach(n, transport, id, all)
		second := startAttach(n, transport, id, streams.Want{Stdout: true})
		first.say("one\n") // the answer is not missed, however soon it comes
		first.until("got one\n")
		first.askUntil("zero", second)

		// Neither the end of a client's input nor its going is seen by the container.
		must(t, first.In.Close())
		first.Close()
		third := startAttach(n, transport, id, all)
		third.say("two\n")
		second.until("got two\n")
		third.say("end\n")
		out, errs, code, err := third.Finish()
		if out != "got two\n" || errs != "err two\n" || code != 0 || err != nil {
			t.Errorf("third: %q, %q, %d, %v", out, errs, code, err)
		}
		if _, _, _, err := second.Finish(); err != nil {
			t.Errorf("second: %v", err)
		}
		if s := n.WaitState(id, cri.ContainerState_CONTAINER_EXITED); s.ExitCode != 6 || !strings.Contains(n.Log(s), "got two") {
			t.Errorf("%v\n%s", s, n.Log(s))
		}
	})
}

func TestAttachOnce(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("once")
	pod := n.RunPod(podCfg)
	for name, leave := range map[string]func(c *client){
		"half-close": func(c *client) { must(t, c.In.Close()); c.until("EOF\n") },
		"goes":       func(c *client) { c.Close() },
		"daemon":     func(*client) { _ = n.Daemon.Kill(); n.Start() },
	} {
		both(t, n, func(t *testing.T, n *node.Node, transport string) {
			cfg := node.Container("main-"+name+"-"+transport, `while read -r l; do echo "got $l"; done; echo EOF; sleep 1000`)
			cfg.Stdin, cfg.StdinOnce = true, true
			id := n.Run(pod, podCfg, cfg)
			c := startAttach(n, transport, id, streams.Want{Stdin: true, Stdout: true})
			c.say("one\n")
			c.until("got one\n")
			leave(c)
			n.WaitLog(id, "EOF")
			c = startAttach(n, transport, id, streams.Want{Stdin: true, Stdout: true})
			c.say("into nowhere\n")
			c.Close()
		})
	}
}

func TestAttachTerminal(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("tty")
	pod := n.RunPod(podCfg)
	both(t, n, func(t *testing.T, n *node.Node, transport string) {
		cfg := node.Container("main-"+transport, "")
		cfg.Command, cfg.Args, cfg.Tty, cfg.Stdin = []string{"sh"}, nil, true, true
		id := n.Run(pod, podCfg, cfg)
		want := streams.Want{Stdin: true, Stdout: true, TTY: true}
		c := startAttach(n, transport, id, want)
		must(t, c.Resize(31, 91))
		c.say("while [ \"$(stty size)\" != '31 91' ]; do :; done; echo si\"\"zed\n")
		c.until("sized")
		c.Close()
		c = startAttach(n, transport, id, want)
		c.say("exit 4\n")
		if _, _, code, err := c.Finish(); code != 0 || err != nil {
			t.Errorf("%d, %v", code, err)
		}
		if s := n.WaitState(id, cri.ContainerState_CONTAINER_EXITED); s.ExitCode != 4 || !strings.Contains(n.Log(s), "sized") {
			t.Errorf("%v\n%s", s, n.Log(s))
		}
	})
}

// A client that does not read is cut with a word; the log has all.
func TestAttachSlow(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("slow")
	pod := n.RunPod(podCfg)
	cfg := node.Container("main", "read x; yes 0123456789012345678901234567890123456789012345678901234567890123456789 | head -n 1000000; echo all; sleep 1000")
	cfg.Stdin = true
	id := n.Run(pod, podCfg, cfg)
	c := startAttach(n, "spdy", id, streams.Want{Stdin: true, Stdout: true})
	c.say("go\n")
	n.WaitLog(id, "stdout F all")
	if _, _, _, err := c.Finish(); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("the client is told %v", err)
	}
}

// Sessions and terminals after kills: a keeper's death goes unnoticed by those
// attached, and terminals can be made when both processes have died.
func TestStreamsSurviveKills(t *testing.T) {
	for name, strike := range kills {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			podCfg := n.PodConfig("survivor")
			id := n.Run(n.RunPod(podCfg), podCfg, node.Container("main", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.1; done"))
			c := startAttach(n, "spdy", id, streams.Want{Stdout: true})
			c.until("line")
			strike(n)
			if name == "keeper" {
				c.until("line")
				c.until("line")
			}
			c.Close()
			for transport := range transports {
				terminal(t, n, transport, id)
				a := startAttach(n, transport, id, streams.Want{Stdout: true})
				a.until("line")
				a.Close()
			}
		})
	}
}

func TestPortForward(t *testing.T) {
	n := newNode(t)
	for _, hostNetwork := range []bool{false, true} {
		podCfg := n.PodConfig(fmt.Sprintf("forward-%v", hostNetwork))
		if hostNetwork {
			podCfg.Linux.SecurityContext.NamespaceOptions.Network = cri.NamespaceMode_NODE
		}
		pod := n.RunPod(podCfg)
		id := n.Run(pod, podCfg, node.Container("web", "echo four > /tmp/4; echo six > /tmp/6; httpd -p 127.0.0.1:7001 -h /tmp; httpd -p '[::1]:7002' -h /tmp; echo serving; sleep 1000"))
		n.WaitLog(id, "serving")
		for name, dial := range map[string]func(context.Context, string) (*streams.Forwarder, error){"spdy": streams.Forward, "tunnel": streams.Tunnel} {
			t.Run(fmt.Sprintf("%s/host=%v", name, hostNetwork), func(t *testing.T) {
				r, err := n.Runtime.PortForward(t.Context(), &cri.PortForwardRequest{PodSandboxId: pod})
				must(t, err)
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				f, err := dial(ctx, r.GetUrl())
				must(t, err)
				defer f.Close()
				var work sync.WaitGroup
				for range 5 {
					work.Go(func() { get(t, f, 7001, "/4", "four") })
					work.Go(func() { get(t, f, 7002, "/6", "six") })
				}
				work.Wait()
				_, errs, err := f.Connect(7003)
				must(t, err)
				if b, _ := io.ReadAll(errs); !strings.Contains(string(b), "connection refused") {
					t.Errorf("nobody there: %q", b)
				}
			})
		}
		n.RemovePod(pod)
		if _, err := n.Runtime.PortForward(t.Context(), &cri.PortForwardRequest{PodSandboxId: pod}); err == nil {
			t.Error("forwarding to a pod that is gone")
		}
	}
}

func get(t *testing.T, f *streams.Forwarder, port int, path, want string) {
	data, errs, err := f.Connect(port)
	if err != nil {
		t.Error(err)
		return
	}
	fmt.Fprintf(data, "GET %s HTTP/1.0\r\n\r\n", path)
	b, _ := io.ReadAll(data)
	_ = data.Close()
	if !strings.HasSuffix(strings.TrimSpace(string(b)), want) {
		wrong, _ := io.ReadAll(errs)
		t.Errorf("port %d: %q, %s", port, b, wrong)
	}
}

// Sessions that end, fail or are broken off leave nothing in either process.
func TestSessionsLeaveNothing(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("many")
	cfg := node.Container("main", "sleep 1000")
	cfg.Stdin = true
	id := n.Run(n.RunPod(podCfg), podCfg, cfg)
	rounds := 8
	session := func(i int) {
		tty := streams.Want{Stdin: true, Stdout: true, TTY: true}
		transport := []string{"spdy", "websocket"}[i%2]
		switch i / 2 % 5 {
		case 0:
			c := startExec(n, transport, id, streams.Want{Stdout: true}, "echo", "hi")
			_, _, _, _ = c.Finish()
		case 1:
			_, _, _, _ = startExec(n, transport, id, tty, "/no/such/command").Finish()
		case 2:
			startExec(n, transport, id, tty, "cat").Close()
		case 3:
			startAttach(n, transport, id, streams.Want{Stdin: true, Stdout: true}).Close()
		case 4:
			_, _, _, _ = startExec(n, transport, id, streams.Want{Stdout: true}, "sh", "-c", "echo hi >&1 & exit 1").Finish()
		}
	}
	many := func(rounds int) {
		for range rounds {
			var work sync.WaitGroup
			for i := range 20 {
				work.Go(func() { session(i) })
			}
			work.Wait()
		}
	}
	many(1)
	pids := []int{n.Daemon.Pid(), n.KeeperPid()}
	before := fewest(t, pids, nil)
	many(rounds)
	after := fewest(t, pids, before)
	for i := range pids {
		if after[i] > before[i]+5 {
			t.Errorf("process %d has %d descriptors and had %d", i, after[i], before[i])
			all, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pids[i]))
			for _, fd := range all {
				to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pids[i], fd.Name()))
				t.Log(fd.Name(), to)
			}
		}
	}
}

// fewest counts descriptors until they are no more than wanted, at most 20 s.
func fewest(t *testing.T, pids, want []int) []int {
	t.Helper()
	n := make([]int, len(pids))
	end := time.Now().Add(20 * time.Second)
	if want == nil {
		end = time.Now().Add(3 * time.Second)
	}
	for {
		enough := want != nil
		for i, pid := range pids {
			fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
			must(t, err)
			n[i] = len(fds)
			enough = enough && n[i] <= want[i]
		}
		if enough || time.Now().After(end) {
			return n
		}
		time.Sleep(100 * time.Millisecond)
	}
}
