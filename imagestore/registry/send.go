package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// errRedirect: a redirect that is not followed.
var errRedirect = errors.New("redirect not followed")

// maxHops is how many redirects one request may take.
const maxHops = 10

// request is one request as it is meant, before redirects.
type request struct {
	url           *url.URL
	method        string
	header        http.Header // goes along to wherever a redirect leads
	authorization string      // only to the origin that it is for
	body          string
}

// get asks one endpoint for a path in the repository and answers a challenge
// once. The reply is 200 or 206; anything else is an error.
func (e *endpoint) get(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	u := *e.url
	u.Path += "/" + e.repo.path + path
	if e.ns != "" {
		u.RawQuery = url.Values{"ns": {e.ns}}.Encode()
	}
	for try := 0; ; try++ {
		used := e.auth.header()
		req := &request{url: &u, method: http.MethodGet, header: header, authorization: used}
		resp, err := e.repo.reply(ctx, e, req)
		if err != nil {
			return nil, err
		}
		switch resp.StatusCode {
		case http.StatusOK, http.StatusPartialContent:
			return resp, nil
		case http.StatusUnauthorized:
			if try > 1 {
				return nil, statusOf(resp, e.repo.secrets)
			}
			challenges := resp.Header.Values("WWW-Authenticate")
			status := statusOf(resp, e.repo.secrets)
			if err := e.auth.answer(ctx, e, used, challenges); err != nil {
				var s *statusError
				if errors.As(status, &s) && s.detail != "" {
					err = fmt.Errorf("%s: %w", s.detail, err)
				}
				return nil, err
			}
		default:
			return nil, statusOf(resp, e.repo.secrets)
		}
	}
}

// send is reply, and makes everything but success an error.
func (r *Repository) send(ctx context.Context, e *endpoint, req *request) (*http.Response, error) {
	resp, err := r.reply(ctx, e, req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, statusOf(resp, r.secrets)
	}
	return resp, nil
}

// reply sends a request and follows redirects. What is secret (Authorization,
// configured headers, client certificate) goes to the endpoint's own origin
// only; from another origin it does not come back into use either.
func (r *Repository) reply(ctx context.Context, e *endpoint, req *request) (*http.Response, error) {
	at, first := req.url, req.url
	for hop := 0; ; hop++ {
		resp, err := r.once(ctx, e, req, at, sameOrigin(at, first))
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if hop > 0 {
				return nil, fmt.Errorf("redirected to %s: %w", at.Host, unreachable(err))
			}
			return nil, unreachable(err)
		}
		to := resp.Header.Get("Location")
		if !redirects(resp.StatusCode) || to == "" {
			return resp, nil
		}
		_ = resp.Body.Close()
		next, err := at.Parse(to)
		switch {
		case err != nil || next.Host == "" || next.User != nil || next.Scheme != "http" && next.Scheme != "https":
			return nil, fmt.Errorf("redirect to something that is not a URL: %w: %w", errRedirect, ErrUnreachable)
		case at.Scheme == "https" && next.Scheme == "http":
			return nil, fmt.Errorf("redirect from https to http, %s: %w: %w", next.Host, errRedirect, ErrUnreachable)
		case hop == maxHops:
			return nil, fmt.Errorf("more than %d redirects: %w: %w", maxHops, errRedirect, ErrUnreachable)
		}
		at = next
	}
}

func redirects(code int) bool {
	switch code {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

func (r *Repository) once(ctx context.Context, e *endpoint, req *request, at *url.URL, own bool) (*http.Response, error) {
	var body io.Reader
	if req.body != "" {
		if !own {
			return nil, fmt.Errorf("a token request may not be redirected to another host: %w", errRedirect)
		}
		body = strings.NewReader(req.body)
	}
	h, err := http.NewRequestWithContext(ctx, req.method, at.String(), body)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	for k, v := range req.header {
		h.Header[k] = v
	}
	h.Header.Set("User-Agent", userAgent)
	if own && req.authorization != "" {
		h.Header.Set("Authorization", req.authorization)
	}
	client := r.elsewhere
	if sameOrigin(at, e.url) {
		client = e.client
		for k, v := range e.header {
			if h.Header.Get(k) == "" {
				h.Header[http.CanonicalHeaderKey(k)] = v
			}
		}
	}
	return client.Do(h)
}

// sameOrigin compares scheme, host and port.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(address(a), address(b))
}
