package registry

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func show(list []host) string {
	var b strings.Builder
	for _, h := range list {
		fmt.Fprintf(&b, "%s pull=%v resolve=%v", h.url, h.pull, h.resolve)
		if h.ns != "" {
			fmt.Fprintf(&b, " ns=%s", h.ns)
		}
		if h.skipVerify {
			b.WriteString(" skip")
		}
		for _, f := range h.ca {
			fmt.Fprintf(&b, " ca=%s", f)
		}
		for _, p := range h.client {
			fmt.Fprintf(&b, " client=%s,%s", p[0], p[1])
		}
		if h.dial != 0 {
			fmt.Fprintf(&b, " dial=%s", h.dial)
		}
		if len(h.header) > 0 {
			fmt.Fprintf(&b, " header=%v", h.header)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestDefaultHosts(t *testing.T) {
	for registry, want := range map[string]string{
		"docker.io":        "https://registry-1.docker.io/v2",
		"quay.io":          "https://quay.io/v2",
		"reg.test:5000":    "https://reg.test:5000/v2",
		"localhost":        "http://localhost/v2",
		"localhost:5000":   "http://localhost:5000/v2",
		"127.0.0.1:5000":   "http://127.0.0.1:5000/v2",
		"127.9.9.9:80":     "http://127.9.9.9:80/v2",
		"[::1]:5000":       "http://[::1]:5000/v2",
		"localhost:443":    "https://localhost:443/v2",
		"localhost.evil":   "https://localhost.evil/v2",
		"127.0.0.1.nip.io": "https://127.0.0.1.nip.io/v2",
		"10.0.0.1:5000":    "https://10.0.0.1:5000/v2",
	} {
		list, err := hosts("", registry, slog.New(slog.DiscardHandler))
		if err != nil || show(list) != want+" pull=true resolve=true\n" {
			t.Errorf("%s: got %q, %v", registry, show(list), err)
		}
	}
}

func TestHostsFile(t *testing.T) {
	for name, c := range map[string]struct{ registry, toml, want string }{
		"order of the file": {"docker.io", `
server = "https://docker.io"
[host."https://z.test"]
  capabilities = ["pull"]
[host."http://a.test:5000"]
  capabilities = ["pull", "resolve", "push"]
  skip_verify = true
  ca = "ca.crt"
  client = [["c.crt", "c.key"], ["d.pem", ""]]
  dial_timeout = "3s"
  [host."http://a.test:5000".header]
    X-One = "1"
[host."https://m.test/v2/proxy"]
  override_path = true
  ca = ["/abs.crt", "rel.crt"]
  client = "both.pem"
`, `https://z.test/v2 pull=true resolve=false ns=docker.io
http://a.test:5000/v2 pull=true resolve=true ns=docker.io skip ca=D/ca.crt client=D/c.crt,D/c.key client=D/d.pem,D/d.pem dial=3s header=map[X-One:[1]]
https://m.test/v2/proxy pull=true resolve=true ns=docker.io ca=/abs.crt ca=D/rel.crt client=D/both.pem,D/both.pem
https://docker.io/v2 pull=true resolve=true
`},
		"server only":    {"quay.io", `server = "http://quay.internal:5000"`, "http://quay.internal:5000/v2 pull=true resolve=true ns=quay.io\n"},
		"path":           {"quay.io", "[host.\"https://m.test/cache/\"]", "https://m.test/cache/v2 pull=true resolve=true ns=quay.io\nhttps://quay.io/v2 pull=true resolve=true\n"},
		"server's own":   {"quay.io", "capabilities = [\"pull\"]\nskip_verify = true", "https://quay.io/v2 pull=true resolve=false skip\n"},
		"empty":          {"quay.io", "", "https://quay.io/v2 pull=true resolve=true\n"},
		"unknown key":    {"quay.io", "future = 1\n[host.\"m.test\"]\nnew_thing = true", "https://m.test/v2 pull=true resolve=true ns=quay.io\nhttps://quay.io/v2 pull=true resolve=true\n"},
		"inline":         {"quay.io", "[host]\n\"https://b.test\" = {}\n\"https://a.test\" = {capabilities=[\"pull\"]}", "https://a.test/v2 pull=true resolve=false ns=quay.io\nhttps://b.test/v2 pull=true resolve=true ns=quay.io\nhttps://quay.io/v2 pull=true resolve=true\n"},
		"loopback":       {"quay.io", "[host.\"localhost:5000\"]", "http://localhost:5000/v2 pull=true resolve=true ns=quay.io\nhttps://quay.io/v2 pull=true resolve=true\n"},
		"bad capability": {"quay.io", "[host.\"https://m\"]\ncapabilities = [\"all\"]", "error"},
		"bad scheme":     {"quay.io", "[host.\"ftp://m\"]", "error"},
		"user in it":     {"quay.io", "[host.\"https://u:p@m\"]", "error"},
		"bad timeout":    {"quay.io", "dial_timeout = \"soon\"", "error"},
		"not toml":       {"quay.io", "server = ", "error"},
		"bad ca":         {"quay.io", "ca = 1", "error"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			list, err := parseHosts([]byte(c.toml), dir, c.registry, slog.New(slog.DiscardHandler))
			got := strings.ReplaceAll(show(list), dir, "D")
			if err != nil {
				got = "error"
			}
			if got != c.want {
				t.Errorf("got (%v):\n%s\nwant:\n%s", err, got, c.want)
			}
		})
	}
}

func TestHostDirectories(t *testing.T) {
	dir := t.TempDir()
	put := func(name string) {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		body := fmt.Sprintf("server = %q", "https://from."+strings.NewReplacer(":", "-", "_", "-").Replace(name))
		if err := os.WriteFile(filepath.Join(dir, name, "hosts.toml"), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	look := func(registry, want string) {
		t.Helper()
		list, err := hosts(dir, registry, slog.New(slog.DiscardHandler))
		if err != nil || list[0].url.Host != want {
			t.Errorf("%s: %v, %v; want %s", registry, show(list), err, want)
		}
	}
	look("reg.test:5000", "reg.test:5000")
	put("_default")
	look("reg.test:5000", "from.-default")
	put("reg.test:5000")
	look("reg.test:5000", "from.reg.test-5000")
	put("reg.test_5000_")
	look("reg.test:5000", "from.reg.test-5000-")
	look("other.test", "from.-default")
	if err := os.Mkdir(filepath.Join(dir, "bare.test"), 0o755); err != nil {
		t.Fatal(err)
	}
	look("bare.test", "bare.test")
}
