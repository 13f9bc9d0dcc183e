package imagestore_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/imagestore"
	"slipway/imagestore/registrytest"
)

func pullErr(t testing.TB, s *imagestore.Store, ref string, auth *imagestore.Auth) error {
	t.Helper()
	_, err := s.Pull(timeout(t, 60*time.Second), imagestore.PullRequest{Reference: ref, Auth: auth})
	return err
}

// onBlob makes a fault for one blob.
func onBlob(d digest.Digest, f registrytest.Fault) func(*http.Request) *registrytest.Fault {
	return func(r *http.Request) *registrytest.Fault {
		if strings.HasSuffix(r.URL.Path, "/blobs/"+d.String()) {
			return &f
		}
		return nil
	}
}

func TestBadContent(t *testing.T) {
	b := build(t, registrytest.Image{Compression: "none", Layers: [][]file{{{Name: "a", Body: strings.Repeat("a", 1<<16)}}}})
	gz := build(t, registrytest.Image{Layers: [][]file{{{Name: "a", Body: strings.Repeat("abc", 1<<14)}}}})
	lie := build(t, registrytest.Image{Layers: [][]file{{{Name: "a"}}}, DiffIDs: []digest.Digest{digest.FromString("x")}})
	few := build(t, registrytest.Image{Layers: [][]file{{{Name: "a"}}}, DiffIDs: []digest.Digest{}})
	escape := build(t, registrytest.Image{Layers: [][]file{{{Name: ".", Link: "/"}}}})
	layer, zip := b.Layers[0].Digest, gz.Layers[0].Digest
	for name, c := range map[string]struct {
		image *registrytest.Built
		fault func(*http.Request) *registrytest.Fault
		want  error
		names string
	}{
		"bit in a layer":      {b, onBlob(layer, registrytest.Fault{Flip: 1000}), imagestore.ErrCorrupt, layer.String()},
		"bit in gzip":         {gz, onBlob(zip, registrytest.Fault{Flip: 30}), imagestore.ErrCorrupt, "its digest is"},
		"layer longer":        {b, onBlob(layer, registrytest.Fault{Extra: 100}), imagestore.ErrCorrupt, layer.String()},
		"config differs":      {b, onBlob(b.Config, registrytest.Fault{Flip: 10}), imagestore.ErrCorrupt, b.Config.String()},
		"diffID":              {lie, nil, imagestore.ErrCorrupt, digest.FromString("x").String()},
		"number of diffIDs":   {few, nil, imagestore.ErrCorrupt, "diffIDs"},
		"hostile layer":       {escape, nil, imagestore.ErrCorrupt, "root is not a directory"},
		"layer missing":       {b, onBlob(layer, registrytest.Fault{Status: 404}), imagestore.ErrNotFound, layer.String()},
		"layer never ends":    {b, onBlob(layer, registrytest.Fault{Cut: 100, NoRange: true}), imagestore.ErrUnreachable, layer.String()},
		"layer never moves":   {b, onBlob(layer, registrytest.Fault{Stall: 100}), imagestore.ErrUnreachable, "stalled"},
		"server always fails": {b, onBlob(layer, registrytest.Fault{Status: 503}), imagestore.ErrUnreachable, "503"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := start(t)
			reg.Push("app", c.image, "v1")
			reg.SetFault(c.fault)
			dir := t.TempDir()
			s := open(t, imagestore.Options{Root: dir, Idle: 200 * time.Millisecond})
			err := pullErr(t, s, reg.Host()+"/app:v1", nil)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.names) || !strings.Contains(err.Error(), reg.Host()) {
				t.Errorf("got %v; want %v, naming %q and the registry", err, c.want, c.names)
			}
			wantEmpty(t, dir)
		})
	}
}

func TestFlakyRegistry(t *testing.T) {
	b := build(t, registrytest.Image{Compression: "none", Layers: [][]file{
		{{Name: "a", Body: strings.Repeat("a", 1<<20)}}, {{Name: "b", Body: strings.Repeat("b", 1<<20)}},
	}})
	var n atomic.Int64
	for name, fault := range map[string]func(r *http.Request) *registrytest.Fault{
		"every other request fails": func(*http.Request) *registrytest.Fault {
			if n.Add(1)%2 == 1 {
				return &registrytest.Fault{Status: 503, Header: map[string]string{"Retry-After": "0"}}
			}
			return nil
		},
		"cut and resumed": func(r *http.Request) *registrytest.Fault {
			if strings.Contains(r.URL.Path, "/blobs/") {
				return &registrytest.Fault{Cut: 300_000}
			}
			return nil
		},
		"cut once, no ranges": func(r *http.Request) *registrytest.Fault {
			if strings.Contains(r.URL.Path, "/blobs/") && n.Add(1)%3 == 0 {
				return &registrytest.Fault{Cut: 300_000, NoRange: true}
			}
			return &registrytest.Fault{NoRange: true}
		},
		"stalls once": func(r *http.Request) *registrytest.Fault {
			if strings.Contains(r.URL.Path, "/blobs/") && n.Add(1)%3 == 0 {
				return &registrytest.Fault{Stall: 300_000}
			}
			return nil
		},
		"chunked": func(*http.Request) *registrytest.Fault { return &registrytest.Fault{NoLength: true} },
	} {
		t.Run(name, func(t *testing.T) {
			n.Store(0)
			reg := start(t)
			reg.Push("app", b, "v1")
			reg.SetFault(fault)
			s := open(t, imagestore.Options{Idle: 300 * time.Millisecond})
			root, err := s.View(pull(t, s, reg.Host()+"/app:v1").ID)
			if err != nil || merged(t, root, "a") != strings.Repeat("a", 1<<20) {
				t.Errorf("wrong content, %v", err)
			}
		})
	}
}

func TestAuth(t *testing.T) {
	const secret = "s3cr3t-pass"
	user := &imagestore.Auth{Username: "u", Password: secret}
	encoded := &imagestore.Auth{Auth: base64.StdEncoding.EncodeToString([]byte("u:" + secret))}
	for name, c := range map[string]struct {
		server registrytest.Auth
		auth   *imagestore.Auth
		want   error
	}{
		"basic":                {registrytest.Auth{User: "u", Password: secret}, user, nil},
		"basic, encoded":       {registrytest.Auth{User: "u", Password: secret}, encoded, nil},
		"basic, wrong":         {registrytest.Auth{User: "u", Password: "x"}, user, imagestore.ErrDenied},
		"basic, anonymous":     {registrytest.Auth{User: "u", Password: "x"}, nil, imagestore.ErrDenied},
		"token":                {registrytest.Auth{Token: true, User: "u", Password: secret}, user, nil},
		"token, wrong":         {registrytest.Auth{Token: true, User: "u", Password: "x"}, user, imagestore.ErrDenied},
		"token, anonymous":     {registrytest.Auth{Token: true, Anonymous: true}, nil, nil},
		"token, not anonymous": {registrytest.Auth{Token: true, User: "u", Password: "x"}, nil, imagestore.ErrDenied},
		"identity token":       {registrytest.Auth{Token: true, Refresh: "r3fr3sh"}, &imagestore.Auth{IdentityToken: "r3fr3sh"}, nil},
		"identity, wrong":      {registrytest.Auth{Token: true, Refresh: "x"}, &imagestore.Auth{IdentityToken: secret}, imagestore.ErrDenied},
		"registry token":       {registrytest.Auth{Token: true, Bearer: "b34r3r"}, &imagestore.Auth{RegistryToken: "b34r3r"}, nil},
		"registry, wrong":      {registrytest.Auth{Token: true, Bearer: "x"}, &imagestore.Auth{RegistryToken: secret}, imagestore.ErrDenied},
		"for another":          {registrytest.Auth{User: "u", Password: secret}, &imagestore.Auth{Username: "u", Password: secret, ServerAddress: "example.org"}, imagestore.ErrDenied},
		"not base64":           {registrytest.Auth{User: "u", Password: secret}, &imagestore.Auth{Auth: "***"}, imagestore.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			reg := start(t)
			reg.Auth = &c.server
			reg.Push("team/app", simple(t, "one"), "v1")
			s := open(t, imagestore.Options{})
			err := pullErr(t, s, reg.Host()+"/team/app:v1", c.auth)
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), encoded.Auth)) {
				t.Errorf("a secret is in the error: %v", err)
			}
		})
	}
}

func TestTokenExpires(t *testing.T) {
	reg := start(t)
	auth := &registrytest.Auth{Token: true, Anonymous: true, Bearer: "first"}
	reg.Auth = auth
	reg.Push("app", simple(t, "one"), "v1")
	var n atomic.Int64
	reg.SetFault(func(r *http.Request) *registrytest.Fault {
		// The first blob finds its token expired.
		if strings.Contains(r.URL.Path, "/blobs/") && r.Header.Get("Authorization") == "Bearer first" && n.Add(1) == 1 {
			return &registrytest.Fault{Status: 401, Header: map[string]string{
				"WWW-Authenticate": `Bearer realm="` + reg.URL() + `/token",service="test"`,
			}}
		}
		return nil
	})
	s := open(t, imagestore.Options{})
	pull(t, s, reg.Host()+"/app:v1")
	if reg.Count("/token") != 2 {
		t.Errorf("%d tokens", reg.Count("/token"))
	}
}

func TestRedirectsCarryNoSecrets(t *testing.T) {
	b := simple(t, "one")
	front, store := start(t), start(t)
	front.Auth = &registrytest.Auth{User: "u", Password: "p"}
	front.Push("app", b, "v1")
	store.Push("app", b)
	front.SetFault(func(r *http.Request) *registrytest.Fault {
		if strings.Contains(r.URL.Path, "/blobs/") {
			return &registrytest.Fault{Redirect: store.URL() + r.URL.Path + "?X-Signature=abc"}
		}
		return nil
	})
	s := open(t, imagestore.Options{})
	if err := pullErr(t, s, front.Host()+"/app:v1", &imagestore.Auth{Username: "u", Password: "p"}); err != nil {
		t.Fatal(err)
	}
	if len(store.Requests()) == 0 {
		t.Fatal("nobody was redirected")
	}
	for _, r := range store.Requests() {
		if r.Authorization != "" {
			t.Errorf("%s: Authorization went along", r.Path)
		}
	}
	store.SetFault(func(*http.Request) *registrytest.Fault { return &registrytest.Fault{Status: 403} })
	s = open(t, imagestore.Options{})
	err := pullErr(t, s, front.Host()+"/app:v1", &imagestore.Auth{Username: "u", Password: "p"})
	if !errors.Is(err, imagestore.ErrDenied) || strings.Contains(err.Error(), "abc") {
		t.Errorf("got %v", err)
	}
}

func TestRedirectsAreBounded(t *testing.T) {
	reg := start(t)
	for name, to := range map[string]string{
		"loop": reg.URL() + "/loop", "file": "file:///etc/passwd", "user": "http://u:p@" + reg.Host() + "/",
		"metadata": "http://169.254.169.254/latest/", "mapped": "http://[::ffff:169.254.169.254]/",
	} {
		t.Run(name, func(t *testing.T) {
			reg.SetFault(func(*http.Request) *registrytest.Fault { return &registrytest.Fault{Redirect: to} })
			before := len(reg.Requests())
			s := open(t, imagestore.Options{})
			if err := pullErr(t, s, reg.Host()+"/app", nil); !errors.Is(err, imagestore.ErrUnreachable) {
				t.Errorf("got %v", err)
			}
			if n := len(reg.Requests()) - before; n > 100 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestForeignLayersAreNotFollowed(t *testing.T) {
	reg, foreign := start(t), start(t)
	b := simple(t, "one")
	var m ocispec.Manifest
	if err := json.Unmarshal(b.Document, &m); err != nil {
		t.Fatal(err)
	}
	m.Layers[0].URLs = []string{foreign.URL() + "/secret"}
	m.Layers[0].MediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	b.Document, _ = json.Marshal(m)
	b.Digest = digest.FromBytes(b.Document)
	reg.Push("app", b, "v1")
	s := open(t, imagestore.Options{})
	pull(t, s, reg.Host()+"/app:v1")
	if len(foreign.Requests()) != 0 {
		t.Error("a foreign URL was contacted")
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	s := open(t, imagestore.Options{})
	err = pullErr(t, s, addr+"/app", nil)
	if !errors.Is(err, imagestore.ErrUnreachable) || !strings.Contains(err.Error(), addr) {
		t.Errorf("got %v", err)
	}
	reg := start(t)
	err = pullErr(t, s, reg.Host()+"/nothing:here", nil)
	if !errors.Is(err, imagestore.ErrNotFound) || !strings.Contains(err.Error(), "nothing:here") {
		t.Errorf("got %v", err)
	}
	if err := pullErr(t, s, "Not A Name", nil); !errors.Is(err, imagestore.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func certs(t *testing.T, registry, toml string) string {
	t.Helper()
	dir := t.TempDir()
	d := filepath.Join(dir, registry)
	if err := os.MkdirAll(d, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d, "hosts.toml"), []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestMirrors(t *testing.T) {
	b := simple(t, "one")
	origin, bad, good := start(t), start(t), start(t)
	good.Prefix = "/cache"
	good.Push("library/app", b, "v1")
	origin.Push("library/app", b, "v1")
	conf := fmt.Sprintf(`
server = %q
[host.%q]
  capabilities = ["pull", "resolve"]
[host.%q]
  capabilities = ["pull", "resolve"]
  [host.%[3]q.header]
    x-mirror = ["yes"]
`, origin.URL(), bad.URL(), good.URL()+"/cache")
	s := open(t, imagestore.Options{RegistryDir: certs(t, "docker.io", conf)})
	img := pull(t, s, "app:v1")
	if img.Tags[0] != "docker.io/library/app:v1" {
		t.Errorf("tags %q", img.Tags)
	}
	if len(bad.Requests()) == 0 || len(good.Requests()) == 0 || len(origin.Requests()) != 0 {
		t.Errorf("requests: %d, %d, %d", len(bad.Requests()), len(good.Requests()), len(origin.Requests()))
	}
	for _, r := range good.Requests() {
		if r.Query != "ns=docker.io" || r.Header.Get("X-Mirror") != "yes" {
			t.Errorf("%s: query %q, header %q", r.Path, r.Query, r.Header.Get("X-Mirror"))
		}
	}
	// All down: each is named with its reason.
	for _, r := range []*registrytest.Server{bad, good, origin} {
		r.SetFault(func(*http.Request) *registrytest.Fault { return &registrytest.Fault{Status: 418} })
	}
	err := pullErr(t, s, "app:v2", nil)
	for _, part := range []string{bad.Host(), good.Host(), origin.Host(), "418", "docker.io/library/app:v2"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
}

func TestMirrorThatLiesIsLeft(t *testing.T) {
	b := build(t, registrytest.Image{Layers: [][]file{{{Name: "a", Body: strings.Repeat("abc", 1<<14)}}}})
	origin, liar := start(t), start(t)
	origin.Push("app", b, "v1")
	liar.Push("app", b, "v1")
	liar.SetFault(onBlob(b.Layers[0].Digest, registrytest.Fault{Flip: 40}))
	conf := fmt.Sprintf("server = %q\n[host.%q]\n", origin.URL(), liar.URL())
	s := open(t, imagestore.Options{RegistryDir: certs(t, "example.org", conf)})
	root, err := s.View(pull(t, s, "example.org/app:v1").ID)
	if err != nil || merged(t, root, "a") != strings.Repeat("abc", 1<<14) {
		t.Errorf("wrong content, %v", err)
	}
	if liar.Count("/blobs/"+b.Layers[0].Digest.String()) != 1 || origin.Count("/blobs/"+b.Layers[0].Digest.String()) != 1 {
		t.Error("not the requests that were expected")
	}
}

func TestMirrorWithoutResolve(t *testing.T) {
	b := simple(t, "one")
	origin, mirror := start(t), start(t)
	origin.Push("app", b, "v1")
	mirror.Push("app", b, "v1")
	conf := fmt.Sprintf("server = %q\n[host.%q]\ncapabilities = [\"pull\"]\n", origin.URL(), mirror.URL())
	s := open(t, imagestore.Options{RegistryDir: certs(t, "_default", conf)})
	pull(t, s, "example.org/app:v1")
	if mirror.Count("/manifests/v1") != 0 || origin.Count("/manifests/v1") != 1 || origin.Count("/blobs/") != 0 {
		t.Error("a mirror that only pulls was asked what a tag is, or nothing else")
	}
}

func TestHostileDocuments(t *testing.T) {
	b := simple(t, "one")
	index, err := registrytest.Index(b)
	if err != nil {
		t.Fatal(err)
	}
	doc := func(old, repl string) []byte { return bytes.Replace(b.Document, []byte(old), []byte(repl), 1) }
	manifest, list := ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex
	for name, c := range map[string]struct {
		mediaType string
		body      []byte
	}{
		"both":              {manifest, doc(`"layers":`, `"manifests":[],"layers":`)},
		"other type":        {list, b.Document},
		"index as manifest": {manifest, index.Document},
		"type inside":       {manifest, doc(manifest, list)},
		"unknown type":      {"application/json", b.Document},
		"html":              {"text/html", []byte("<html>")},
		"key twice":         {manifest, doc(`"config":`, `"config":{},"config":`)},
		"key in two cases":  {manifest, doc(`"config":`, `"Config":{},"config":`)},
		"schema 1":          {manifest, doc(`"schemaVersion":2`, `"schemaVersion":1`)},
		"no config":         {manifest, []byte(`{"schemaVersion":2,"layers":[]}`)},
		"deep":              {manifest, []byte(strings.Repeat("[", 100_000))},
		"huge":              {manifest, bytes.Repeat([]byte(" "), 5<<20)},
		"digest path":       {manifest, doc(b.Layers[0].Digest.String(), "sha256:../../../../etc/passwd")},
		"md5":               {manifest, doc(b.Layers[0].Digest.String(), "md5:d41d8cd98f00b204e9800998ecf8427e")},
		"negative size":     {manifest, doc(`"size":`, `"size":-`)},
		"artifact":          {manifest, doc(ocispec.MediaTypeImageConfig, "application/vnd.oci.empty.v1+json")},
		"not a layer":       {manifest, doc(ocispec.MediaTypeImageLayerGzip, "application/vnd.cncf.helm.chart")},
		"encrypted":         {manifest, doc(ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerGzip+"+encrypted")},
	} {
		t.Run(name, func(t *testing.T) {
			reg := start(t)
			reg.Push("app", b, "v1")
			reg.SetFault(func(r *http.Request) *registrytest.Fault {
				if strings.Contains(r.URL.Path, "/manifests/") {
					return &registrytest.Fault{Body: c.body, Header: map[string]string{"Content-Type": c.mediaType}}
				}
				return nil
			})
			dir := t.TempDir()
			s := open(t, imagestore.Options{Root: dir})
			if err := pullErr(t, s, reg.Host()+"/app:v1", nil); !errors.Is(err, imagestore.ErrCorrupt) {
				t.Errorf("got %v", err)
			}
			wantEmpty(t, dir)
		})
	}
}

func TestIndexLimits(t *testing.T) {
	b := simple(t, "one")
	nested := b
	for range 4 {
		next, err := registrytest.Index(nested)
		if err != nil {
			t.Fatal(err)
		}
		nested = next
	}
	many := make([]*registrytest.Built, 1001)
	for i := range many {
		many[i] = b
	}
	wide, err := registrytest.Index(many...)
	if err != nil {
		t.Fatal(err)
	}
	layers := make([][]file, 129)
	for i := range layers {
		layers[i] = []file{{Name: fmt.Sprint(i)}}
	}
	reg := start(t)
	reg.Push("deep", nested, "latest")
	reg.Push("ok", nested.Children[0], "latest")
	reg.Push("wide", wide, "latest")
	reg.Push("tall", build(t, registrytest.Image{Layers: layers}), "latest")
	reg.Push("high", build(t, registrytest.Image{Layers: layers[1:]}), "latest")
	s := open(t, imagestore.Options{})
	for _, name := range []string{"deep", "wide", "tall"} {
		if err := pullErr(t, s, reg.Host()+"/"+name, nil); !errors.Is(err, imagestore.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"ok", "high"} {
		pull(t, s, reg.Host()+"/"+name)
	}
}

func TestJoinedPullIsNotDeniedByAnother(t *testing.T) {
	reg := start(t)
	b := simple(t, "one")
	reg.Push("app", b, "v1")
	reg.Auth = &registrytest.Auth{User: "u", Password: "p"}
	s := open(t, imagestore.Options{})
	errs := make(chan error, 2)
	for _, a := range []*imagestore.Auth{nil, {Username: "u", Password: "p"}} {
		go func() { errs <- pullErr(t, s, reg.Host()+"/app:v1", a) }()
	}
	denied, fine := 0, 0
	for range 2 {
		switch err := <-errs; {
		case err == nil:
			fine++
		case errors.Is(err, imagestore.ErrDenied):
			denied++
		default:
			t.Error(err)
		}
	}
	if denied != 1 || fine != 1 {
		t.Errorf("%d denied, %d fine", denied, fine)
	}
}

func FuzzReference(f *testing.F) {
	for _, s := range []string{"busybox", "a/b:c@sha256:00", "localhost:5000/x", "[::1]:5000/x", "sha256:abc", strings.Repeat("a", 300)} {
		f.Add(s)
	}
	s, err := imagestore.Open(f.Context(), imagestore.Options{Root: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	f.Fuzz(func(t *testing.T, ref string) {
		_, err := s.Get(ref)
		if !errors.Is(err, imagestore.ErrNotFound) && !errors.Is(err, imagestore.ErrInvalid) {
			t.Errorf("%q: %v", ref, err)
		}
	})
}
