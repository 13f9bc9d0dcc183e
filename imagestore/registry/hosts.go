package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// A host is one place to ask for a repository, as hosts.toml has it.
type host struct {
	url        *url.URL // with the path up to and without the repository, "/v2"
	pull       bool     // may be asked for what has a digest
	resolve    bool     // may be asked what a tag is
	header     map[string][]string
	ca         []string    // files
	client     [][2]string // files: certificate, key
	skipVerify bool
	dial       time.Duration
	ns         string // the registry's name, where it is not this host's
}

// hostFile is hosts.toml. What differs in form there is any here.
type hostFile struct {
	Server string `toml:"server"`
	hostEntry
	Host map[string]hostEntry `toml:"host"`
}

type hostEntry struct {
	Capabilities []string       `toml:"capabilities"`
	CA           any            `toml:"ca"`
	Client       any            `toml:"client"`
	SkipVerify   *bool          `toml:"skip_verify"`
	Header       map[string]any `toml:"header"`
	OverridePath bool           `toml:"override_path"`
	DialTimeout  string         `toml:"dial_timeout"`
}

// maxHostFile bounds hosts.toml and each certificate file.
const maxHostFile = 1 << 20

// hosts says where to ask for images of a registry, in order: what hosts.toml
// lists, and last the registry itself.
func hosts(dir, registry string, log *slog.Logger) ([]host, error) {
	if dir != "" {
		for _, name := range hostDirs(registry) {
			d := filepath.Join(dir, name)
			if fi, err := os.Stat(d); err != nil || !fi.IsDir() {
				continue
			}
			file := filepath.Join(d, "hosts.toml")
			data, err := os.ReadFile(file)
			if errors.Is(err, fs.ErrNotExist) {
				break // the directory says: nothing special
			}
			if err != nil {
				return nil, err
			}
			list, err := parseHosts(data, d, registry, log)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			return list, nil
		}
	}
	return []host{origin(registry)}, nil
}

// hostDirs are the names under which a registry may be configured; the first
// that exists counts.
func hostDirs(registry string) []string {
	names := []string{registry, "_default"}
	if name, port, ok := strings.Cut(registry, ":"); ok && !strings.Contains(port, ":") {
		names = []string{name + "_" + port + "_", registry, "_default"}
	}
	return names
}

// origin is a registry of which nothing is configured.
func origin(registry string) host {
	u := &url.URL{Scheme: "https", Host: registry, Path: "/v2"}
	switch {
	case registry == "docker.io":
		u.Host = "registry-1.docker.io"
	case loopbackName(u.Hostname()) && u.Port() != "443":
		u.Scheme = "http"
	}
	return host{url: u, pull: true, resolve: true, ns: namespace(registry, u.Host)}
}

// namespace tells a host whose registry's images are meant, unless it is that
// registry.
func namespace(registry, host string) string {
	if host == registry || registry == "docker.io" && host == "registry-1.docker.io" {
		return ""
	}
	return registry
}

// loopbackName tells the names that never leave the machine.
func loopbackName(name string) bool {
	ip := net.ParseIP(name)
	return name == "localhost" || ip != nil && ip.IsLoopback()
}

func parseHosts(data []byte, dir, registry string, log *slog.Logger) ([]host, error) {
	if len(data) > maxHostFile {
		return nil, fmt.Errorf("more than %d bytes", maxHostFile)
	}
	var f hostFile
	strict := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	var unknown *toml.StrictMissingError
	err := strict.Decode(&f)
	if errors.As(err, &unknown) {
		// Other runtimes read the same file and may know more.
		log.Warn("unknown keys in hosts.toml", "dir", dir, "keys", unknown.String())
		f = hostFile{}
		err = toml.Unmarshal(data, &f)
	}
	if err != nil {
		return nil, err
	}
	var list []host
	for _, name := range hostOrder(data, f.Host) {
		h, err := f.Host[name].host(name, dir, registry)
		if err != nil {
			return nil, fmt.Errorf("host %q: %w", name, err)
		}
		list = append(list, h)
	}
	if f.Server == "" {
		o := origin(registry)
		f.Server = o.url.Scheme + "://" + o.url.Host
	}
	server, err := f.host(f.Server, dir, registry)
	if err != nil {
		return nil, fmt.Errorf("server %q: %w", f.Server, err)
	}
	return append(list, server), nil
}

// hostOrder lists the [host."..."] tables as the file has them: their order is
// the order to ask in, and a decoded map has none.
func hostOrder(data []byte, all map[string]hostEntry) []string {
	var order []string
	var p unstable.Parser
	p.Reset(data)
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.Table && e.Kind != unstable.KeyValue {
			continue
		}
		key := e.Key()
		if !key.Next() || string(key.Node().Data) != "host" || !key.Next() {
			continue
		}
		name := string(key.Node().Data)
		if _, ok := all[name]; ok && !slices.Contains(order, name) {
			order = append(order, name)
		}
	}
	var rest []string // inline tables
	for name := range all {
		if !slices.Contains(order, name) {
			rest = append(rest, name)
		}
	}
	slices.Sort(rest)
	return append(order, rest...)
}

func (e hostEntry) host(name, dir, registry string) (host, error) {
	if !strings.Contains(name, "://") {
		scheme := "https://"
		if loopbackName((&url.URL{Host: name}).Hostname()) {
			scheme = "http://"
		}
		name = scheme + name
	}
	u, err := url.Parse(name)
	if err != nil {
		return host{}, errors.New("not a URL")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return host{}, errors.New("want http://host[:port][/path] or https://, without user and query")
	}
	u.Path = strings.TrimSuffix(path.Clean("/"+u.Path), "/")
	if !e.OverridePath && u.Path != "/v2" && !strings.HasSuffix(u.Path, "/v2") {
		u.Path += "/v2"
	}
	h := host{url: u, ns: namespace(registry, u.Host), skipVerify: e.SkipVerify != nil && *e.SkipVerify}
	if err := e.capabilities(&h); err != nil {
		return host{}, err
	}
	if e.DialTimeout != "" {
		if h.dial, err = time.ParseDuration(e.DialTimeout); err != nil || h.dial <= 0 {
			return host{}, fmt.Errorf("dial_timeout %q is not a duration", e.DialTimeout)
		}
	}
	if h.ca, err = stringsOf("ca", e.CA); err != nil {
		return host{}, err
	}
	if h.client, err = pairsOf(e.Client); err != nil {
		return host{}, err
	}
	h.header = map[string][]string{}
	for k, v := range e.Header {
		if h.header[k], err = stringsOf("header "+k, v); err != nil {
			return host{}, err
		}
	}
	h.absolute(dir)
	return h, nil
}

func (e hostEntry) capabilities(h *host) error {
	if len(e.Capabilities) == 0 {
		h.pull, h.resolve = true, true
		return nil
	}
	for _, c := range e.Capabilities {
		switch c {
		case "pull":
			h.pull = true
		case "resolve":
			h.resolve = true
		case "push", "referrers":
		default:
			return fmt.Errorf("unknown capability %q", c)
		}
	}
	return nil
}

// absolute makes file names relative to the directory of hosts.toml absolute.
func (h *host) absolute(dir string) {
	abs := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	for i := range h.ca {
		abs(&h.ca[i])
	}
	for i := range h.client {
		abs(&h.client[i][0])
		abs(&h.client[i][1])
	}
}

// stringsOf reads a string or a list of strings.
func stringsOf(key string, v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		var list []string
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("%s: want strings", key)
			}
			list = append(list, s)
		}
		return list, nil
	}
	return nil, fmt.Errorf("%s: want a string or a list of strings", key)
}

// pairsOf reads client: one file with certificate and key, a list of such, or
// a list of pairs.
func pairsOf(v any) ([][2]string, error) {
	list, ok := v.([]any)
	if !ok {
		files, err := stringsOf("client", v)
		if err != nil || len(files) == 0 {
			return nil, err
		}
		return [][2]string{{files[0], files[0]}}, nil
	}
	var pairs [][2]string
	for _, e := range list {
		files, err := stringsOf("client", e)
		if err != nil {
			return nil, err
		}
		switch {
		case len(files) == 1 || len(files) == 2 && files[1] == "":
			pairs = append(pairs, [2]string{files[0], files[0]})
		case len(files) == 2:
			pairs = append(pairs, [2]string{files[0], files[1]})
		default:
			return nil, errors.New("client: want pairs of certificate and key")
		}
	}
	return pairs, nil
}
