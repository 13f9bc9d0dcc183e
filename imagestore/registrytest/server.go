package registrytest

import (
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// A Server is a registry on a loopback address. Make it with Start.
type Server struct {
	// Auth is what the registry wants; nil is nothing. Set it before use.
	Auth *Auth
	// Prefix is a path below which /v2/ lies, "/proxy"; "" is none.
	Prefix string

	http     *http.Server
	listener net.Listener
	done     chan struct{}

	mu        sync.Mutex                   // guards what follows
	documents map[string]map[string]*Built // repository, then tag or digest
	blobs     map[string]map[digest.Digest][]byte
	fault     func(*http.Request) *Fault
	log       []Request
}

// A Request is one that was received.
type Request struct {
	Method, Path, Query  string
	Authorization, Range string
	Header               http.Header
	Status               int
}

// Start serves an empty registry on 127.0.0.1 and a free port.
func Start() (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{
		listener:  l,
		done:      make(chan struct{}),
		documents: map[string]map[string]*Built{},
		blobs:     map[string]map[digest.Digest][]byte{},
	}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(l)
	}()
	return s, nil
}

// Close cuts every connection and ends the server.
func (s *Server) Close() {
	_ = s.http.Close()
	<-s.done
}

// Host is the registry's name in a reference, "127.0.0.1:41234".
func (s *Server) Host() string { return s.listener.Addr().String() }

// URL is "http://" and Host.
func (s *Server) URL() string { return "http://" + s.Host() }

// Push puts an image or index into a repository under its digest and tags.
func (s *Server) Push(repository string, b *Built, tags ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.push(repository, b, tags)
}

func (s *Server) push(repository string, b *Built, tags []string) {
	if s.documents[repository] == nil {
		s.documents[repository] = map[string]*Built{}
		s.blobs[repository] = map[digest.Digest][]byte{}
	}
	for _, t := range append(slices.Clone(tags), b.Digest.String()) {
		s.documents[repository][t] = b
	}
	for d, data := range b.Blobs {
		s.blobs[repository][d] = data
	}
	for _, c := range b.Children {
		s.push(repository, c, nil)
	}
}

// SetFault makes fault decide of each request what goes wrong with it; nil is
// nothing. It must be safe to be called by many at a time.
func (s *Server) SetFault(fault func(*http.Request) *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Requests returns what was received so far, in the order of the replies.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// Count says how many requests had part in their path.
func (s *Server) Count(part string) int {
	n := 0
	for _, r := range s.Requests() {
		if strings.Contains(r.Path, part) {
			n++
		}
	}
	return n
}

func (s *Server) record(r *http.Request, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, Request{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery,
		Authorization: r.Header.Get("Authorization"), Range: r.Header.Get("Range"),
		Header: r.Header.Clone(), Status: status,
	})
}
