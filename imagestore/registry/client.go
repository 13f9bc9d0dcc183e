package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// userAgent names us to registries and token servers.
const userAgent = "slipway"

// Options say how registries are asked. The zero value works.
type Options struct {
	// Dir holds <host>/hosts.toml; "" is none.
	Dir string
	// Idle is how long a reply may be silent, and the time over which it must
	// bring 1 KiB a second; 0 is 60 s.
	Idle time.Duration
	// Dial bounds a connect where hosts.toml does not; 0 is 10 s.
	Dial time.Duration
	// Log gets what is retried; nil discards it.
	Log *slog.Logger
}

// A Client opens repositories.
type Client struct {
	o Options
}

// New returns a client. hosts.toml files are read for each repository opened,
// so a change counts from the next pull on.
func New(o Options) *Client {
	if o.Idle <= 0 {
		o.Idle = 60 * time.Second
	}
	if o.Dial <= 0 {
		o.Dial = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Client{o: o}
}

// A Repository is one repository for one pull: it remembers tokens and which
// hosts are down. Its methods may be called at the same time.
type Repository struct {
	o         Options
	registry  string // "docker.io"
	path      string // "library/busybox"
	endpoints []*endpoint
	guard     *guard
	elsewhere *http.Client // for hosts that replies name
	secrets   []string     // never shown
}

// endpoint is one host of the repository.
type endpoint struct {
	host
	repo   *Repository
	client *http.Client
	auth   *authorizer
	down   atomic.Bool // could not be connected to, or sent wrong bytes
}

// Repository opens a repository: registry as in a reference ("docker.io",
// "localhost:5000"), and the path in it.
func (c *Client) Repository(registry, path string, creds Credentials) (*Repository, error) {
	list, err := hosts(c.o.Dir, registry, c.o.Log)
	if err != nil {
		return nil, err
	}
	r := &Repository{o: c.o, registry: registry, path: path, guard: &guard{named: map[string]struct{}{}}}
	for _, s := range []string{creds.Password, creds.IdentityToken, creds.RegistryToken, basic(creds.Username, creds.Password)} {
		if s != "" {
			r.secrets = append(r.secrets, s)
		}
	}
	r.elsewhere = r.httpClient(nil, c.o.Dial)
	for _, h := range list {
		e, err := r.endpoint(h, creds)
		if err != nil {
			return nil, fmt.Errorf("registry %q: %w", shown(h.url), err)
		}
		r.endpoints = append(r.endpoints, e)
	}
	return r, nil
}

// Close ends idle connections.
func (r *Repository) Close() {
	r.elsewhere.CloseIdleConnections()
	for _, e := range r.endpoints {
		e.client.CloseIdleConnections()
	}
}

func (r *Repository) endpoint(h host, creds Credentials) (*endpoint, error) {
	conf, err := h.tls()
	if err != nil {
		return nil, err
	}
	dial := h.dial
	if dial == 0 {
		dial = r.o.Dial
	}
	r.guard.name(h.url)
	e := &endpoint{host: h, repo: r, client: r.httpClient(conf, dial), auth: &authorizer{}}
	if meant(creds, h, r.registry) {
		e.auth.creds = creds
		if creds.RegistryToken != "" {
			e.auth.value = "Bearer " + creds.RegistryToken
		}
	}
	return e, nil
}

// meant says whether credentials go to a host: to the registry that they came
// for, and to mirrors that the operator has put before it, but to a mirror not
// in the clear over a network.
func meant(c Credentials, h host, registry string) bool {
	if c.ServerAddress != "" {
		a := c.ServerAddress
		if _, rest, ok := strings.Cut(a, "://"); ok {
			a = rest
		}
		a, _, _ = strings.Cut(a, "/")
		if a == "index.docker.io" || a == "registry-1.docker.io" {
			a = "docker.io"
		}
		if a == h.url.Host {
			return true
		}
		if a != registry {
			return false
		}
	}
	return h.ns == "" || h.url.Scheme == "https" || loopbackName(h.url.Hostname())
}

func (r *Repository) httpClient(conf *tls.Config, dial time.Duration) *http.Client {
	if conf == nil {
		conf = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  r.proxy,
			DialContext:            r.guard.dialer(dial),
			TLSClientConfig:        conf,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    dial,
			ResponseHeaderTimeout:  r.o.Idle,
			IdleConnTimeout:        30 * time.Second,
			MaxIdleConnsPerHost:    8,
			MaxResponseHeaderBytes: 1 << 20,
			DisableCompression:     true, // the digest is of the bytes as sent
		},
		// Redirects are followed by Repository.send, which decides on each hop
		// what may be sent there.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// proxy is the environment's. The operator has named it, so it may be anywhere.
func (r *Repository) proxy(req *http.Request) (*url.URL, error) {
	u, err := http.ProxyFromEnvironment(req)
	if u != nil {
		r.guard.name(u)
	}
	return u, err
}

func (h host) tls() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: h.skipVerify} //nolint:gosec // skip_verify asks for it
	if len(h.ca) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		for _, file := range h.ca {
			pem, err := readFile(file)
			if err != nil {
				return nil, fmt.Errorf("ca: %w", err)
			}
			if !pool.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("ca: no certificate in %q", file)
			}
		}
		conf.RootCAs = pool
	}
	for _, pair := range h.client {
		cert, err := readFile(pair[0])
		if err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
		key, err := readFile(pair[1])
		if err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
		c, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("client: %q: %w", pair[0], err)
		}
		conf.Certificates = append(conf.Certificates, c)
	}
	return conf, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxHostFile+1))
	if err == nil && len(data) > maxHostFile {
		err = errors.New("file too large")
	}
	return data, err
}
