package streaming

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway/test/streams"
)

// dialers are the ways to open a session.
var dialers = []struct {
	name      string
	halfClose bool
	dial      func(ctx context.Context, url string, w streams.Want) (*streams.Session, error)
}{
	{"spdy", true, streams.SPDY},
	{"websocket v5", true, func(ctx context.Context, url string, w streams.Want) (*streams.Session, error) {
		return streams.WebSocket(ctx, url, streams.V5, w)
	}},
	{"websocket v4", false, func(ctx context.Context, url string, w streams.Want) (*streams.Session, error) {
		return streams.WebSocket(ctx, url, streams.V4, w)
	}},
}

// listen makes a server whose sessions must be over when the test is.
func listen(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), giveUp)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

// giveUp bounds every wait of a test.
const giveUp = 30 * time.Second

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), giveUp)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// echo is a command that repeats its input on both streams and ends with 7.
func echo(_ context.Context, s Streams) (int, error) {
	b, err := io.ReadAll(s.In)
	fmt.Fprintf(s.Out, "out %s", b)
	fmt.Fprintf(s.Err, "err %s", b)
	return 7, err
}

func TestCommand(t *testing.T) {
	for _, d := range dialers {
		if !d.halfClose {
			continue
		}
		t.Run(d.name, func(t *testing.T) {
			s := listen(t, Options{})
			w := Want{Stdin: true, Stdout: true, Stderr: true}
			url, err := s.Exec("pod", w, echo)
			must(t, err)
			c, err := d.dial(bounded(t), url, streams.Want(w))
			must(t, err)
			defer c.Close()
			text := strings.Repeat("0123456789", 20_000) // more than any buffer on the way
			go func() {
				_, _ = io.WriteString(c.In, text)
				_ = c.In.Close()
			}()
			out, errs, code, err := c.Finish()
			if out != "out "+text || errs != "err "+text || code != 7 || err != nil {
				t.Errorf("got %d and %d bytes, code %d, %v", len(out), len(errs), code, err)
			}
		})
	}
}

func TestCommandEnds(t *testing.T) {
	for _, d := range dialers {
		for _, tt := range []struct {
			name string
			code int
			err  error
			want string
		}{
			{"well", 0, nil, ""},
			{"badly", 0, errors.New("no such file"), "InternalError: no such file"},
		} {
			t.Run(d.name+"/"+tt.name, func(t *testing.T) {
				s := listen(t, Options{})
				url, err := s.Attach("pod", Want{Stdout: true}, func(context.Context, Streams) (int, error) { return tt.code, tt.err })
				must(t, err)
				c, err := d.dial(bounded(t), url, streams.Want{Stdout: true})
				must(t, err)
				defer c.Close()
				_, _, code, err := c.Finish()
				if code != tt.code || fmt.Sprint(err) != fmt.Sprint(map[bool]any{true: nil, false: tt.want}[tt.want == ""]) {
					t.Errorf("code %d, %v; want %d, %s", code, err, tt.code, tt.want)
				}
			})
		}
	}
}

func TestResize(t *testing.T) {
	for _, d := range dialers {
		t.Run(d.name, func(t *testing.T) {
			s := listen(t, Options{})
			w := Want{Stdout: true, TTY: true}
			url, err := s.Exec("pod", w, func(_ context.Context, s Streams) (int, error) {
				for range 2 {
					rows, cols, ok := s.Resize()
					fmt.Fprintln(s.Out, rows, cols, ok)
				}
				return 0, nil
			})
			must(t, err)
			c, err := d.dial(bounded(t), url, streams.Want(w))
			must(t, err)
			defer c.Close()
			must(t, c.Resize(24, 80))
			must(t, c.Resize(50, 132))
			if out, _, _, err := c.Finish(); out != "24 80 true\n50 132 true\n" || err != nil {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
}

// wait is a command that waits for its context and tells its cause.
type wait chan error

func (w wait) run(ctx context.Context, s Streams) (int, error) {
	fmt.Fprint(s.Out, "ready")
	<-ctx.Done()
	w <- context.Cause(ctx)
	return 0, context.Cause(ctx)
}

func (w wait) ended(t *testing.T, want error) {
	t.Helper()
	select {
	case err := <-w:
		if !errors.Is(err, want) {
			t.Errorf("ended with %v, want %v", err, want)
		}
	case <-time.After(giveUp):
		t.Errorf("the session does not end; want %v", want)
	}
}

func ready(t *testing.T, c *streams.Session) {
	t.Helper()
	b := make([]byte, 5)
	if _, err := io.ReadFull(c.Out, b); err != nil || string(b) != "ready" {
		t.Fatalf("%q, %v", b, err)
	}
}

func TestClientGoes(t *testing.T) {
	for _, d := range dialers {
		for _, full := range []bool{false, true} { // also when nobody reads its input any more
			t.Run(fmt.Sprintf("%s/full=%v", d.name, full), func(t *testing.T) {
				s := listen(t, Options{Look: 20 * time.Millisecond})
				end := between(t, s)
				w := Want{Stdin: true, Stdout: true}
				got := make(wait, 1)
				url, err := s.Exec("pod", w, got.run)
				must(t, err)
				c, err := d.dial(bounded(t), url, streams.Want(w))
				must(t, err)
				ready(t, c)
				if full {
					go func() {
						for range 1000 {
							if _, err := c.In.Write(make([]byte, 32<<10)); err != nil {
								return
							}
						}
					}()
					time.Sleep(200 * time.Millisecond) // until it stands
				}
				end(full)
				got.ended(t, errGone)
				c.Close()
			})
		}
	}
}

// between puts a proxy between clients and the server. What it returns ends the
// clients' connections, in order or by a reset.
func between(t *testing.T, s *Server) (end func(reset bool)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	server := s.addr
	s.addr = l.Addr().String()
	var mu sync.Mutex
	var all []*net.TCPConn
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", server)
			if err != nil {
				c.Close()
				return
			}
			mu.Lock()
			all = append(all, up.(*net.TCPConn), c.(*net.TCPConn))
			mu.Unlock()
			go func() { _, _ = io.Copy(up, c) }()
			go func() { _, _ = io.Copy(c, up) }()
		}
	}()
	return func(reset bool) {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range all {
			if reset {
				_ = c.SetLinger(0)
			}
			c.Close()
		}
	}
}

func TestIdle(t *testing.T) {
	for _, d := range dialers {
		t.Run(d.name, func(t *testing.T) {
			s := listen(t, Options{Idle: 2 * time.Second, Look: 10 * time.Millisecond})
			got := make(wait, 1)
			url, err := s.Exec("pod", Want{Stdout: true}, got.run)
			must(t, err)
			c, err := d.dial(bounded(t), url, streams.Want{Stdout: true})
			must(t, err)
			defer c.Close()
			got.ended(t, errIdle)
			if _, _, _, err := c.Finish(); err == nil || !strings.Contains(err.Error(), "idle for too long") {
				t.Errorf("the client is told %v", err)
			}
		})
	}
}

func TestNotIdle(t *testing.T) {
	s := listen(t, Options{Idle: 3 * time.Second, Look: 10 * time.Millisecond})
	url, err := s.Exec("pod", Want{Stdout: true}, func(ctx context.Context, s Streams) (int, error) {
		for range 40 { // longer than it may be idle
			time.Sleep(100 * time.Millisecond)
			fmt.Fprint(s.Out, ".")
		}
		return 0, context.Cause(ctx)
	})
	must(t, err)
	c, err := streams.SPDY(bounded(t), url, streams.Want{Stdout: true})
	must(t, err)
	defer c.Close()
	if out, _, _, err := c.Finish(); out != strings.Repeat(".", 40) || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

func TestClose(t *testing.T) {
	for _, d := range dialers {
		t.Run(d.name, func(t *testing.T) {
			s := listen(t, Options{})
			got := make(wait, 1)
			url, err := s.Exec("pod", Want{Stdout: true}, got.run)
			must(t, err)
			c, err := d.dial(bounded(t), url, streams.Want{Stdout: true})
			must(t, err)
			defer c.Close()
			ready(t, c)
			closed := make(chan error, 1)
			go func() { closed <- s.Close(bounded(t)) }()
			if _, _, _, err := c.Finish(); err == nil || !strings.Contains(err.Error(), "is stopping") {
				t.Errorf("the client is told %v", err)
			}
			got.ended(t, errStopping)
			must(t, <-closed)
		})
	}
}

func TestTooManyStreams(t *testing.T) {
	s := listen(t, Options{})
	got := make(wait, 1)
	url, err := s.Exec("pod", Want{Stdout: true}, got.run)
	must(t, err)
	ctx := bounded(t)
	go func() { // the client library waits half a minute for an answer
		if c, err := streams.SPDY(ctx, url, streams.Want{Stdout: true, Stderr: true}); err == nil {
			c.Close()
		}
	}()
	for end := time.Now().Add(giveUp); ; time.Sleep(time.Millisecond) {
		s.table.mu.Lock()
		n := s.table.total
		s.table.mu.Unlock()
		if n == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the session goes on")
		}
	}
	select {
	case err := <-got: // it may have run already
		if !errors.Is(err, errStreams) {
			t.Errorf("ended with %v, want %v", err, errStreams)
		}
	default:
	}
}

func TestMissingStreams(t *testing.T) {
	s := listen(t, Options{Open: 2 * time.Second})
	url, err := s.Exec("pod", Want{Stdin: true, Stdout: true}, func(context.Context, Streams) (int, error) {
		t.Error("it runs")
		return 0, nil
	})
	must(t, err)
	c, err := streams.SPDY(bounded(t), url, streams.Want{Stdout: true})
	must(t, err)
	defer c.Close()
	if out, _ := io.ReadAll(c.Out); len(out) > 0 {
		t.Errorf("%q", out)
	}
}

// logBuffer is a log that is read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
