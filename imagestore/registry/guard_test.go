package registry

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

func TestGuard(t *testing.T) {
	const public, private, loop, link = "1.2.3.4:443", "10.1.2.3:443", "127.0.0.1:80", "169.254.169.254:80"
	for _, c := range []struct {
		seen    string // where the registry itself was found
		address string
		named   bool
		literal bool
		ok      bool
	}{
		{public, public, false, false, true},
		{public, private, false, false, false},
		{public, loop, false, false, false},
		{public, link, false, false, false},
		{public, "[::ffff:169.254.169.254]:80", false, true, false},
		{public, "[::ffff:127.0.0.1]:80", false, true, false},
		{public, "0.0.0.0:80", false, true, false},
		{public, "[fe80::1%eth0]:80", false, true, false},
		{public, "[fd00:ec2::254]:80", false, true, false},
		{public, "[fd12::1]:80", false, true, false},
		{public, "100.64.1.1:80", false, true, false},
		{public, "224.0.0.1:80", true, true, false},
		{private, private, false, false, true},
		{private, loop, false, false, false},
		{private, link, false, false, false},
		{loop, loop, false, false, true},
		{loop, private, false, false, true},
		{loop, link, false, false, false},
		{public, private, true, false, true},
		{public, loop, true, false, true},
		{public, link, true, false, false},
		{public, link, true, true, true},
	} {
		g := &guard{}
		if err := g.check(c.seen, true, false); err != nil {
			t.Fatal(err)
		}
		err := g.check(c.address, c.named, c.literal)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, errForbidden) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestChallenges(t *testing.T) {
	for header, want := range map[string]string{
		`Bearer realm="https://a/token",service="x",scope="repository:a/b:pull"`: "bearer https://a/token x repository:a/b:pull",
		`bearer   realm = "https://a" , service=x`:                               "bearer https://a x ",
		`Basic realm="r"`: "basic r  ",
		`Basic realm="r", Bearer realm="https://a",service="s"`: "bearer https://a s ",
		`Negotiate, Basic realm="r"`:                            "basic r  ",
		`Bearer realm="a\"b\\c",service="x,y"`:                  `bearer a"b\c x,y `,
		`Bearer service="x"`:                                    "",
		`Digest realm="x"`:                                      "",
		``:                                                      "",
		`=,=,"`:                                                 "",
		`Bearer realm="unterminated`:                            "bearer unterminated  ",
	} {
		c, ok := choose([]string{header})
		got := ""
		if ok {
			got = strings.Join([]string{c.scheme, c.params["realm"], c.params["service"], c.params["scope"]}, " ")
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", header, got, want)
		}
	}
}

func FuzzChallenges(f *testing.F) {
	f.Add(`Bearer realm="https://a/token",service="x", Basic realm=y`)
	f.Fuzz(func(_ *testing.T, s string) { choose([]string{s}) })
}

func TestRealm(t *testing.T) {
	at := func(s string) *endpoint {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return &endpoint{host: host{url: u}}
	}
	with, without := &authorizer{creds: Credentials{Username: "u", Password: "p"}}, &authorizer{}
	for _, c := range []struct {
		a           *authorizer
		host, realm string
		ok          bool
	}{
		{with, "https://reg.test/v2", "https://auth.test/token", true},
		{with, "https://reg.test/v2", "http://reg.test/token", false},
		{without, "https://reg.test/v2", "http://reg.test/token", false},
		{with, "http://reg.test:5000/v2", "http://reg.test:5001/token", true},
		{with, "http://reg.test:5000/v2", "http://evil.test/token", false},
		{without, "http://reg.test:5000/v2", "http://other.test/token", true},
		{with, "https://reg.test/v2", "https://u:p@auth.test/", false},
		{with, "https://reg.test/v2", "file:///etc/passwd", false},
		{with, "https://reg.test/v2", "/token", false},
	} {
		if _, err := c.a.realm(at(c.host), c.realm); (err == nil) != c.ok {
			t.Errorf("%s -> %s: %v", c.host, c.realm, err)
		}
	}
}

func TestMeant(t *testing.T) {
	h := func(s, ns string) host {
		u, _ := url.Parse(s)
		return host{url: u, ns: ns}
	}
	for _, c := range []struct {
		server string
		h      host
		want   bool
	}{
		{"", h("https://registry-1.docker.io/v2", ""), true},
		{"https://index.docker.io/v1/", h("https://registry-1.docker.io/v2", ""), true},
		{"docker.io", h("https://mirror.test/v2", "docker.io"), true},
		{"", h("http://mirror.test/v2", "docker.io"), false},
		{"", h("http://127.0.0.1:5000/v2", "docker.io"), true},
		{"mirror.test", h("http://mirror.test/v2", "docker.io"), true},
		{"quay.io", h("https://registry-1.docker.io/v2", ""), false},
	} {
		if got := meant(Credentials{Username: "u", ServerAddress: c.server}, c.h, "docker.io"); got != c.want {
			t.Errorf("%q to %s: %v", c.server, c.h.url, got)
		}
	}
}

func TestScrub(t *testing.T) {
	got := scrub("DENIED: user\r\nu:hunter2 \x1b[31m "+strings.Repeat("x", 500), []string{"hunter2"})
	if strings.ContainsAny(got, "\r\n\x1b") || strings.Contains(got, "hunter2") || len(got) > 210 {
		t.Errorf("got %q", got)
	}
	u, _ := url.Parse("https://u:p@h.test/a/b?sig=1#f")
	if shown(u) != "https://h.test/a/b" {
		t.Errorf("got %q", shown(u))
	}
}
