package registrytest

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	defer func() { s.record(r, rec.status) }()
	s.mu.Lock()
	fault := s.fault
	s.mu.Unlock()
	var f *Fault
	if fault != nil {
		f = fault(r)
	}
	if f != nil && f.replace(rec) {
		return
	}
	if s.Auth != nil && s.Auth.serve(s, rec, r) {
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, s.Prefix+"/v2/")
	if !ok {
		missing(rec)
		return
	}
	if path == "" {
		rec.WriteHeader(http.StatusOK)
		return
	}
	if repo, ref, ok := cutLast(path, "/manifests/"); ok {
		s.manifest(rec, r, repo, ref)
		return
	}
	if repo, d, ok := cutLast(path, "/blobs/"); ok {
		s.blob(rec, r, f, repo, digest.Digest(d))
		return
	}
	missing(rec)
}

func (s *Server) manifest(w http.ResponseWriter, r *http.Request, repo, ref string) {
	s.mu.Lock()
	b := s.documents[repo][ref]
	s.mu.Unlock()
	if b == nil {
		missing(w)
		return
	}
	w.Header().Set("Content-Type", b.MediaType)
	w.Header().Set("Docker-Content-Digest", b.Digest.String())
	w.Header().Set("Content-Length", strconv.Itoa(len(b.Document)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(b.Document)
	}
}

func (s *Server) blob(w http.ResponseWriter, r *http.Request, f *Fault, repo string, d digest.Digest) {
	s.mu.Lock()
	data, ok := s.blobs[repo][d]
	s.mu.Unlock()
	if !ok {
		missing(w)
		return
	}
	from := 0
	if spec, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && (f == nil || !f.NoRange) {
		n, err := strconv.Atoi(strings.TrimSuffix(spec, "-"))
		if err != nil || n >= len(data) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		from = n
		w.Header().Set("Content-Range", "bytes "+strconv.Itoa(from)+"-"+strconv.Itoa(len(data)-1)+"/"+strconv.Itoa(len(data)))
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if f != nil {
		f.send(w, r, data, from)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)-from))
	if w.Header().Get("Content-Range") != "" {
		w.WriteHeader(http.StatusPartialContent)
	}
	_, _ = w.Write(data[from:])
}

func missing(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write([]byte(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"not here"}]}`))
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+len(sep):], true
}

// recorder remembers the status for the log.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.NewResponseController through.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
