package streaming

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway/test/streams"
)

var forwarders = []struct {
	name string
	dial func(ctx context.Context, url string) (*streams.Forwarder, error)
}{
	{"spdy", streams.Forward},
	{"tunnel", streams.Tunnel},
}

// answer reads to the end, then answers: both half-closes are needed.
func answer(_ context.Context, port uint16, stream io.ReadWriteCloser) error {
	if port == 81 {
		return errors.New("connection refused")
	}
	b, err := io.ReadAll(stream)
	if err != nil {
		return err
	}
	fmt.Fprintf(stream, "%d: %s", port, b)
	return stream.Close()
}

func TestForward(t *testing.T) {
	for _, f := range forwarders {
		t.Run(f.name, func(t *testing.T) {
			s := listen(t, Options{})
			url, err := s.Forward("pod", nil, answer)
			must(t, err)
			c, err := f.dial(bounded(t), url)
			must(t, err)
			defer c.Close()
			text := strings.Repeat("x", 100_000)
			var work sync.WaitGroup
			for i := range 10 {
				work.Go(func() {
					data, errs, err := c.Connect(8000 + i)
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.WriteString(data, text)
					_ = data.Close()
					got, _ := io.ReadAll(data)
					wrong, _ := io.ReadAll(errs)
					if want := fmt.Sprintf("%d: %s", 8000+i, text); string(got) != want || len(wrong) > 0 {
						t.Errorf("port %d: %d bytes, %q", 8000+i, len(got), wrong)
					}
				})
			}
			work.Wait()
			_, errs, err := c.Connect(81)
			must(t, err)
			if wrong, _ := io.ReadAll(errs); string(wrong) != "connection refused" {
				t.Errorf("the client is told %q", wrong)
			}
		})
	}
}

func TestForwardHalfAPair(t *testing.T) {
	s := listen(t, Options{Open: 2 * time.Second})
	url, err := s.Forward("pod", nil, answer)
	must(t, err)
	c, err := streams.Forward(bounded(t), url)
	must(t, err)
	defer c.Close()
	half, err := c.Stream("data", 80, "1")
	must(t, err)
	if b, err := io.ReadAll(half); err != nil || len(b) > 0 {
		t.Errorf("%q, %v", b, err)
	}
}

func TestForwardBadStream(t *testing.T) {
	for _, port := range []int{0, -1, 65536} {
		s := listen(t, Options{})
		url, err := s.Forward("pod", nil, answer)
		must(t, err)
		c, err := streams.Forward(bounded(t), url)
		must(t, err)
		st, err := c.Stream("data", port, "1")
		if err == nil {
			if _, err := io.ReadAll(st); err != nil {
				t.Error(err)
			}
		}
		c.Close()
	}
}

func TestForwardClientGoes(t *testing.T) {
	for _, f := range forwarders {
		t.Run(f.name, func(t *testing.T) {
			s := listen(t, Options{})
			end := between(t, s)
			got := make(wait, 1)
			url, err := s.Forward("pod", nil, func(ctx context.Context, _ uint16, stream io.ReadWriteCloser) error {
				_, err := got.run(ctx, Streams{Out: stream})
				return err
			})
			must(t, err)
			c, err := f.dial(bounded(t), url)
			must(t, err)
			defer c.Close()
			data, _, err := c.Connect(80)
			must(t, err)
			ready(t, &streams.Session{Out: data})
			end(false)
			got.ended(t, errGone)
		})
	}
}

// Sessions of every kind, finished, failed and broken off, leave neither
// goroutines nor descriptors.
func TestNothingIsLeft(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	s := listen(t, Options{MaxOwner: 1000, Look: 50 * time.Millisecond})
	many := func(rounds int) {
		for range rounds {
			var work sync.WaitGroup
			for i := range 16 {
				work.Go(func() { oneSession(t, s, i) })
			}
			work.Wait()
		}
	}
	many(1)
	goroutines, files := settle(t, 0, 0)
	many(rounds)
	settle(t, goroutines+3, files+3)
}

// oneSession is one of some kinds of sessions.
func oneSession(t *testing.T, s *Server, i int) {
	ctx, cancel := context.WithTimeout(t.Context(), giveUp)
	defer cancel()
	if i%8 == 7 {
		f := forwarders[i/8]
		url, err := s.Forward("pod", nil, answer)
		if err != nil {
			t.Error(err)
			return
		}
		c, err := f.dial(ctx, url)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _, _ = c.Connect(80) // and goes away
		return
	}
	d := dialers[i%len(dialers)]
	w := Want{Stdin: true, Stdout: true, TTY: true}
	url, err := s.Exec("pod", w, func(ctx context.Context, st Streams) (int, error) {
		go func() { // as whoever follows a terminal's size
			for ok := true; ok; _, _, ok = st.Resize() {
			}
		}()
		if i%4 == 1 {
			return 0, errors.New("no such file")
		}
		fmt.Fprint(st.Out, "ready")
		_, _ = st.In.Read(make([]byte, 1))
		return 0, context.Cause(ctx)
	})
	if err != nil {
		t.Error(err)
		return
	}
	c, err := d.dial(ctx, url, streams.Want(w))
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	switch i % 4 {
	case 0:
		_, _ = io.WriteString(c.In, "x")
		fallthrough
	case 1:
		_, _, _, _ = c.Finish()
	case 2:
		_ = c.Resize(1, 1)
	}
}

// settle waits until there are no more goroutines and descriptors than given; 0
// is as few as there get.
func settle(t *testing.T, goroutines, files int) (int, int) {
	t.Helper()
	least, fewest := 1<<30, 1<<30
	for end := time.Now().Add(giveUp); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		dir, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		n, f := runtime.NumGoroutine(), len(dir)
		if goroutines == 0 && n >= least && f >= fewest && time.Until(end) < giveUp-3*time.Second || n <= goroutines && f <= files {
			return least, fewest
		}
		least, fewest = min(n, least), min(f, fewest)
	}
	buf := make([]byte, 1<<20)
	t.Fatalf("%d goroutines and %d descriptors, want %d and %d\n%s", least, fewest, goroutines, files, buf[:runtime.Stack(buf, true)])
	return 0, 0
}
