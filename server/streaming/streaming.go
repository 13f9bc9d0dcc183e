package streaming

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

// ErrTooMany: there are as many sessions and unused URLs, in all or of one
// owner, as there may be.
var ErrTooMany = errors.New("too many streaming sessions")

// Options say where to listen. The zero value works.
type Options struct {
	Address string // host:port; "" is a free port of 127.0.0.1
	Log     *slog.Logger

	// Cert and Key are files (PEM); with both, everything goes over TLS. They
	// are read again at each connection, so that a new certificate needs no
	// restart.
	Cert, Key string

	Idle  time.Duration // a session without a byte for so long is ended; 0 is 4 h
	Token time.Duration // how long a URL works; 0 is 30 s
	Open  time.Duration // how long a client may take to open its streams; 0 is 30 s
	Look  time.Duration // how often sessions are looked at; 0 is 5 s

	Max      int // sessions and unused URLs; 0 is 1000
	MaxOwner int // of one owner; 0 is 64
}

// Want says which streams a client will open.
type Want struct {
	Stdin, Stdout, Stderr, TTY bool
}

// Streams are a client's ends. Those that it did not ask for are nil.
type Streams struct {
	In       io.Reader // ends with the client's half-close, or with the session
	Out, Err io.Writer

	// Resize waits for the next size of the client's terminal; ok is false
	// when there is none any more. Nil without a terminal.
	Resize func() (rows, cols uint16, ok bool)
}

// Run is a session of exec or attach. When ctx ends, so does the session: it
// should return context.Cause(ctx) soon, and use the streams no more. It may
// leave a goroutine in In.Read or Resize: both end after it has returned.
type Run func(ctx context.Context, s Streams) (code int, err error)

// Forward is one forwarded connection. Close of the stream is a half-close.
type Forward func(ctx context.Context, port uint16, stream io.ReadWriteCloser) error

// Causes of the end of a session, as Run finds them and the client is told.
var (
	errGone     = errors.New("the client has gone")
	errStopping = errors.New("the container runtime is stopping")
	errIdle     = errors.New("the session was idle for too long")
	errStreams  = errors.New("the client opened streams that it did not ask for")
)

// Server gives out URLs and serves them.
type Server struct {
	o    Options
	addr string
	http *http.Server
	done chan struct{} // closed when the listener is

	table    table
	mu       sync.Mutex     // a session that begins, against Close
	work     sync.WaitGroup // sessions
	lingerer sync.WaitGroup // connections that wait for the client's end
	ctx      context.Context
	cancel   context.CancelCauseFunc
}

// Listen makes a server that answers until Close.
func Listen(o Options) (*Server, error) {
	o.defaults()
	secure, err := o.tls()
	if err != nil {
		return nil, fmt.Errorf("streaming server: %w", err)
	}
	l, err := net.Listen("tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("streaming server: %w", err)
	}
	s := &Server{o: o, addr: l.Addr().String(), done: make(chan struct{})}
	s.table.init(o)
	// The libraries below log by klog, to stderr, in a form of their own.
	s.ctx, s.cancel = context.WithCancelCause(klog.NewContext(context.Background(), logr.Discard()))
	mux := http.NewServeMux()
	mux.HandleFunc("/"+kindExec+"/{token}", s.serve(kindExec))
	mux.HandleFunc("/"+kindAttach+"/{token}", s.serve(kindAttach))
	mux.HandleFunc("/"+kindForward+"/{token}", s.serve(kindForward))
	s.http = &http.Server{
		Handler:           s.guarded(mux),
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		ConnContext:       withConn,
	}
	s.http.SetKeepAlivesEnabled(false) // a connection is one session
	go func() {
		defer close(s.done)
		if err := s.http.Serve(secure(&listener{l, s})); !errors.Is(err, http.ErrServerClosed) {
			o.Log.Error("the streaming server has ended", "error", err)
		}
	}()
	return s, nil
}

func (o *Options) defaults() {
	or := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	or(&o.Idle, 4*time.Hour)
	or(&o.Token, 30*time.Second)
	or(&o.Open, 30*time.Second)
	or(&o.Look, 5*time.Second)
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	if o.Max == 0 {
		o.Max = 1000
	}
	if o.MaxOwner == 0 {
		o.MaxOwner = 64
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Exec gives a URL at which run gets a client's streams. The owner is whose
// sessions are counted together. Errors: ErrTooMany.
func (s *Server) Exec(owner string, w Want, run Run) (string, error) {
	return s.give(&entry{kind: kindExec, owner: owner, want: w, run: run})
}

// Attach is Exec under another path.
func (s *Server) Attach(owner string, w Want, run Run) (string, error) {
	return s.give(&entry{kind: kindAttach, owner: owner, want: w, run: run})
}

// Forward gives a URL at which a client's connections are forwarded. Ports are
// those that the client has named beforehand; only the old WebSocket protocol
// needs them. Errors: ErrTooMany.
func (s *Server) Forward(owner string, ports []int32, f Forward) (string, error) {
	return s.give(&entry{kind: kindForward, owner: owner, ports: ports, forward: f})
}

func (s *Server) give(e *entry) (string, error) {
	token, err := s.table.insert(e)
	if err != nil {
		return "", err
	}
	scheme := "http://"
	if s.o.Cert != "" {
		scheme = "https://"
	}
	return scheme + s.addr + "/" + e.kind + "/" + token, nil
}

// Close takes no new session, tells those that run, and waits for their end;
// when ctx ends first they are cut off.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Close() // the listener, and connections that are no session yet
	<-s.done
	s.mu.Lock()
	s.cancel(errStopping)
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.work.Wait()
		s.lingerer.Wait()
	}()
	select {
	case <-ended:
		return err
	case <-ctx.Done():
		return errors.Join(err, fmt.Errorf("streaming sessions: %w", ctx.Err()))
	}
}
