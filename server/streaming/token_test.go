package streaming

import (
	"context"
	"errors"
	"io"
	"net/http"
	"path"
	"strings"
	"testing"
	"time"

	"slipway/test/streams"
)

func nothing(context.Context, Streams) (int, error) { return 0, nil }

// ask sends a request for an upgrade and returns the status.
func ask(t *testing.T, url string, change func(*http.Request)) int {
	t.Helper()
	req, err := http.NewRequestWithContext(bounded(t), http.MethodPost, url, nil)
	must(t, err)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "SPDY/3.1")
	req.Header.Set("X-Stream-Protocol-Version", "v4.channel.k8s.io")
	if change != nil {
		change(req)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	must(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	return resp.StatusCode
}

func TestTokens(t *testing.T) {
	var log logBuffer
	s := listen(t, Options{Log: log.logger()})
	url, err := s.Exec("pod", Want{Stdout: true}, nothing)
	must(t, err)
	if got := ask(t, strings.Replace(url, "/exec/", "/attach/", 1), nil); got != 404 {
		t.Errorf("another path: %d", got)
	}
	if got := ask(t, url[:len(url)-1], nil); got != 404 {
		t.Errorf("a part of it: %d", got)
	}
	c, err := streams.SPDY(bounded(t), url, streams.Want{Stdout: true})
	must(t, err)
	c.Close()
	if got := ask(t, url, nil); got != 404 {
		t.Errorf("used twice: %d", got)
	}
	if n := len(path.Base(url)); n < 22 {
		t.Errorf("a token of %d characters holds no 128 bits", n)
	}
	must(t, s.Close(bounded(t)))
	if text := log.b.String(); strings.Contains(text, path.Base(url)) || !strings.Contains(text, "streaming session") {
		t.Errorf("the log:\n%s", text)
	}
}

func TestTokenExpires(t *testing.T) {
	s := listen(t, Options{Token: time.Millisecond, MaxOwner: 1})
	url, err := s.Exec("pod", Want{Stdout: true}, nothing)
	must(t, err)
	time.Sleep(5 * time.Millisecond)
	if got := ask(t, url, nil); got != 404 {
		t.Errorf("an expired one: %d", got)
	}
	if _, err := s.Exec("pod", Want{Stdout: true}, nothing); err != nil {
		t.Errorf("its place is not free: %v", err)
	}
}

func TestCaps(t *testing.T) {
	s := listen(t, Options{MaxOwner: 2, Max: 3})
	give := func(owner string) (string, error) { return s.Exec(owner, Want{Stdout: true}, nothing) }
	url, err := give("a")
	must(t, err)
	_, err = give("a")
	must(t, err)
	if _, err := give("a"); !errors.Is(err, ErrTooMany) {
		t.Errorf("a third of one owner: %v", err)
	}
	_, err = give("b")
	must(t, err)
	if _, err := give("c"); !errors.Is(err, ErrTooMany) {
		t.Errorf("a fourth: %v", err)
	}
	c, err := streams.SPDY(bounded(t), url, streams.Want{Stdout: true})
	must(t, err)
	_, _, _, err = c.Finish()
	must(t, err)
	c.Close()
	for end := time.Now().Add(giveUp); ; time.Sleep(time.Millisecond) { // the session's end is a moment later
		if _, err = give("a"); err == nil || time.Now().After(end) {
			break
		}
	}
	must(t, err)
}

func TestMisses(t *testing.T) {
	s := listen(t, Options{})
	url, err := s.Exec("pod", Want{Stdout: true}, nothing)
	must(t, err)
	seen := map[int]bool{}
	for end := time.Now().Add(giveUp); !seen[429] && time.Now().Before(end); { // a slow machine may be too slow at first
		seen[ask(t, "http://"+s.addr+"/exec/guess", nil)] = true
	}
	if !seen[404] || !seen[429] || len(seen) != 2 {
		t.Errorf("guesses are answered %v", seen)
	}
	c, err := streams.SPDY(bounded(t), url, streams.Want{Stdout: true})
	if err != nil {
		t.Fatalf("guesses keep out whoever has a token: %v", err)
	}
	c.Close()
}

func TestGuard(t *testing.T) {
	s := listen(t, Options{})
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		want   int
	}{
		{"no token", nil, 404},
		{"browser", func(r *http.Request) { r.Header.Set("Origin", "http://example.com") }, 403},
		{"another name", func(r *http.Request) { r.Host = "example.com" }, 403},
		{"localhost", func(r *http.Request) { r.Host = "localhost" }, 403},
		{"proxied", func(r *http.Request) { r.Host = "node:10250"; r.Header.Set("X-Forwarded-For", "10.0.0.1") }, 404},
		{"no upgrade", func(r *http.Request) { r.Header.Del("Upgrade"); r.Header.Del("Connection") }, 400},
		{"proxied without upgrade", func(r *http.Request) {
			r.Header.Set("X-Forwarded-For", "10.0.0.1")
			r.Header.Del("Connection")
		}, 400},
	} {
		if got := ask(t, "http://"+s.addr+"/exec/none", tt.change); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
