package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// Credentials are what a pull brings along. The zero value is anonymous.
type Credentials struct {
	Username, Password string
	IdentityToken      string // an OAuth2 refresh token
	RegistryToken      string // a bearer token, sent as it is
	ServerAddress      string // when set, the only host they are for
}

func (c Credentials) empty() bool {
	return c.Username == "" && c.Password == "" && c.IdentityToken == "" && c.RegistryToken == ""
}

// authorizer holds what one host accepted as proof.
type authorizer struct {
	creds Credentials
	mu    sync.Mutex // held while a token is fetched: one is enough for all
	value string     // of the Authorization header; "" is none
}

func (a *authorizer) header() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.value
}

// answer gets a new proof after a 401 that was given for the proof used.
func (a *authorizer) answer(ctx context.Context, e *endpoint, used string, headers []string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.value != used {
		return nil // somebody was faster
	}
	c, ok := choose(headers)
	if !ok {
		return fmt.Errorf("401 without a way to authenticate: %w", ErrDenied)
	}
	if a.creds.RegistryToken != "" {
		return fmt.Errorf("the registry token was not accepted: %w", ErrDenied)
	}
	if c.scheme == "basic" {
		if used != "" || a.creds.Username == "" && a.creds.Password == "" {
			return fmt.Errorf("user name and password: %w", ErrDenied)
		}
		a.value = "Basic " + basic(a.creds.Username, a.creds.Password)
		return nil
	}
	tok, err := a.fetchToken(ctx, e, c)
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	a.value = "Bearer " + tok
	return nil
}

// fetchToken asks the token server that a host named.
func (a *authorizer) fetchToken(ctx context.Context, e *endpoint, c challenge) (string, error) {
	realm, err := a.realm(e, c.params["realm"])
	if err != nil {
		return "", err
	}
	scope := c.params["scope"]
	if scope == "" {
		scope = "repository:" + e.repo.path + ":pull"
	}
	req := &request{url: realm, method: http.MethodGet, header: http.Header{}}
	if a.creds.IdentityToken != "" {
		form := url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {a.creds.IdentityToken},
			"client_id": {userAgent}, "service": {c.params["service"]}, "scope": {scope},
		}
		req.method, req.body = http.MethodPost, form.Encode()
		req.header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else {
		q := realm.Query()
		if s := c.params["service"]; s != "" {
			q.Set("service", s)
		}
		q.Set("scope", scope)
		realm.RawQuery = q.Encode()
		if a.creds.Username != "" || a.creds.Password != "" {
			req.authorization = "Basic " + basic(a.creds.Username, a.creds.Password)
		}
	}
	resp, err := e.repo.send(ctx, e, req)
	if err != nil {
		return "", fmt.Errorf("%s: %w", shown(realm), err)
	}
	defer resp.Body.Close()
	return readToken(resp)
}

// realm checks where a token is to come from. The password goes there, so it
// must not be sent in the clear if the registry is not.
func (a *authorizer) realm(e *endpoint, s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("the realm that the registry names is not a URL: %w", ErrDenied)
	}
	if u.Scheme == "https" {
		return u, nil
	}
	if e.url.Scheme == "https" {
		return nil, fmt.Errorf("the realm %s is not https, the registry is: %w", shown(u), ErrDenied)
	}
	if !a.creds.empty() && u.Hostname() != e.url.Hostname() {
		return nil, fmt.Errorf("the realm %s is another host, without https: %w", shown(u), ErrDenied)
	}
	return u, nil
}

// maxToken bounds a token server's reply in bytes.
const maxToken = 1 << 20

func readToken(resp *http.Response) (string, error) {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxToken+1))
	if err != nil {
		return "", unreachable(err)
	}
	var t struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
	}
	if len(data) > maxToken || json.Unmarshal(data, &t) != nil {
		return "", fmt.Errorf("the token server's reply is not a token: %w", ErrUnreachable)
	}
	if t.Token == "" {
		t.Token = t.AccessToken
	}
	if t.Token == "" || strings.ContainsFunc(t.Token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", fmt.Errorf("the token server's reply holds no token: %w", ErrDenied)
	}
	return t.Token, nil
}

// statusError is a reply other than success.
type statusError struct {
	code   int
	detail string // scrubbed
	kind   error
	after  string // Retry-After
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("%d %s", e.code, http.StatusText(e.code))
	if e.detail != "" {
		s += " (" + e.detail + ")"
	}
	return s + ": " + e.kind.Error()
}

func (e *statusError) Unwrap() error { return e.kind }

func (e *statusError) temporary() bool {
	switch e.code {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// statusOf makes an error of a reply, and closes it.
func statusOf(resp *http.Response, secrets []string) error {
	defer resp.Body.Close()
	e := &statusError{code: resp.StatusCode, kind: ErrUnreachable, after: resp.Header.Get("Retry-After")}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		e.kind = ErrDenied
	case http.StatusNotFound:
		e.kind = ErrNotFound
	}
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 8<<10))
	var body struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(data, &body) == nil && len(body.Errors) > 0 {
		e.detail = scrub(body.Errors[0].Code+": "+body.Errors[0].Message, secrets)
	}
	return e
}

// temporary tells the errors that may be gone the next time.
func temporary(err error) bool {
	var s *statusError
	if errors.As(err, &s) {
		return s.temporary()
	}
	return errors.Is(err, ErrUnreachable) && !errors.Is(err, errForbidden) && !errors.Is(err, errRedirect)
}
