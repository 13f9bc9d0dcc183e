package streams

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// Want says which streams to open.
type Want struct {
	Stdin, Stdout, Stderr, TTY bool
}

// Session is an open session of exec or attach. Streams that were not asked for
// are nil.
type Session struct {
	In       io.WriteCloser // Close is a half-close
	Out, Err io.Reader
	Status   io.Reader
	resize   io.Writer
	close    func() error
}

// Close goes away.
func (s *Session) Close() error { return s.close() }

// Resize tells a size.
func (s *Session) Resize(rows, cols int) error {
	_, err := fmt.Fprintf(s.resize, `{"Width":%d,"Height":%d}`, cols, rows)
	return err
}

// Finish reads all that is left and returns how it ended.
func (s *Session) Finish() (out, errs string, code int, err error) {
	var wait sync.WaitGroup
	read := func(to *string, r io.Reader) {
		if r != nil {
			wait.Go(func() {
				b, _ := io.ReadAll(r)
				*to = string(b)
			})
		}
	}
	var text string
	read(&out, s.Out)
	read(&errs, s.Err)
	read(&text, s.Status)
	wait.Wait()
	code, err = outcome(text)
	return out, errs, code, err
}

// outcome reads a status of version 4 or 5.
func outcome(text string) (int, error) {
	var s struct {
		Status, Message, Reason string
		Details                 struct {
			Causes []struct{ Reason, Message string }
		}
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return 0, fmt.Errorf("status %q: %w", text, err)
	}
	switch {
	case s.Status == "Success":
		return 0, nil
	case s.Reason == "NonZeroExitCode" && len(s.Details.Causes) == 1:
		return strconv.Atoi(s.Details.Causes[0].Message)
	}
	return 0, fmt.Errorf("%s: %s", s.Reason, s.Message)
}

// anyone believes every certificate: the token is what a test trusts.
func anyone() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// dialSPDY upgrades a connection.
func dialSPDY(ctx context.Context, url, protocol string) (httpstream.Connection, error) {
	rt, err := spdy.NewRoundTripper(anyone())
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set(httpstream.HeaderProtocolVersion, protocol)
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return rt.NewConnection(resp)
}

// SPDY opens a session in version 4.
func SPDY(ctx context.Context, url string, w Want) (*Session, error) {
	conn, err := dialSPDY(ctx, url, "v4.channel.k8s.io")
	if err != nil {
		return nil, err
	}
	s := &Session{close: conn.Close}
	open := func(kind string, yes bool) httpstream.Stream {
		if !yes || err != nil {
			return nil
		}
		var st httpstream.Stream
		st, err = conn.CreateStream(http.Header{"Streamtype": {kind}})
		return st
	}
	s.Status = open("error", true)
	if in := open("stdin", w.Stdin); in != nil {
		s.In = in
	}
	if out := open("stdout", w.Stdout); out != nil {
		s.Out = out
	}
	if errs := open("stderr", w.Stderr); errs != nil {
		s.Err = errs
	}
	if resize := open("resize", w.TTY); resize != nil {
		s.resize = resize
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}
