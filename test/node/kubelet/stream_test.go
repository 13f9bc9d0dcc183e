package kubelet

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"slipway/test/streams"
)

// transports lead through the kubelet.
var transports = map[string]func(context.Context, string, streams.Want) (*streams.Session, error){
	"SPDY": streams.SPDY,
	"WebSocket": func(ctx context.Context, url string, w streams.Want) (*streams.Session, error) {
		return streams.WebSocket(ctx, url, streams.V5, w)
	},
}

// Exec, attach and port-forward through the kubelet, which proxies them.
func TestStreams(t *testing.T) {
	k := newKubelet(t)
	k.pod("streams")
	k.ready("streams")
	for name, dial := range transports {
		t.Run("exec by "+name, func(t *testing.T) {
			w := streams.Want{Stdin: true, Stdout: true, Stderr: true}
			s, err := dial(k.context(), session("exec", "streams", "reads", w, "sh", "-c", "cat; echo wrong >&2; exit 7"), w)
			k.must(err)
			defer s.Close()
			text := strings.Repeat("0123456789abcdef", 20_000)
			go func() {
				_, _ = io.WriteString(s.In, text)
				_ = s.In.Close()
			}()
			out, errs, code, err := s.Finish()
			if out != text || errs != "wrong\n" || code != 7 || err != nil {
				t.Errorf("%d bytes, %q, code %d, %v", len(out), errs, code, err)
			}
		})
		t.Run("terminal by "+name, func(t *testing.T) {
			w := streams.Want{Stdin: true, Stdout: true, TTY: true}
			s, err := dial(k.context(), session("exec", "streams", "reads", w, "sh"), w)
			k.must(err)
			defer s.Close()
			k.must(s.Resize(33, 77))
			go func() { _, _ = io.WriteString(s.In, "while ! stty size | grep '33 77'; do sleep 0.1; done; exit 5\n") }()
			out, _, code, err := s.Finish()
			if !strings.Contains(out, "\n33 77\r\n") || code != 5 {
				t.Errorf("%q, code %d, %v", out, code, err)
			}
		})
		t.Run("attach by "+name, func(t *testing.T) {
			w := streams.Want{Stdin: true, Stdout: true, Stderr: true}
			s, err := dial(k.context(), session("attach", "streams", "reads", w), w)
			k.must(err)
			defer s.Close()
			_, err = fmt.Fprintf(s.In, "hello by %s\n", name)
			k.must(err)
			line, err := bufio.NewReader(s.Out).ReadString('\n')
			if want := fmt.Sprintf("heard hello by %s\n", name); line != want || err != nil {
				t.Errorf("%q, %v, want %q", line, err, want)
			}
		})
	}
	for name, dial := range map[string]func(context.Context, string) (*streams.Forwarder, error){"SPDY": streams.Forward, "WebSocket": streams.Tunnel} {
		t.Run("port-forward by "+name, func(t *testing.T) {
			f, err := dial(k.context(), api+"portForward/default/streams-machine")
			k.must(err)
			defer f.Close()
			for range 3 {
				data, _, err := f.Connect(8080)
				k.must(err)
				_, err = io.WriteString(data, "GET /index.html HTTP/1.0\r\n\r\n")
				k.must(err)
				got, _ := io.ReadAll(data)
				if !strings.HasSuffix(string(got), "\r\n\r\npage\n") {
					t.Errorf("%q", got)
				}
			}
		})
	}
}
