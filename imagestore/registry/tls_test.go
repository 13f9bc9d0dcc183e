package registry

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const emptyIndex = `{"schemaVersion":2,"manifests":[]}`

func tlsRegistry(t *testing.T, realm *string) *httptest.Server {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/down":
			http.Redirect(w, r, "http://"+r.Host+"/x", http.StatusFound)
		case *realm != "" && r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+*realm+`"`)
			w.WriteHeader(http.StatusUnauthorized)
		case strings.HasSuffix(r.URL.Path, "/down"):
			http.Redirect(w, r, "/down", http.StatusFound)
		default:
			w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			fmt.Fprint(w, emptyIndex)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestTLS(t *testing.T) {
	realm := ""
	s := tlsRegistry(t, &realm)
	name := s.Listener.Addr().String()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	for conf, ok := range map[string]bool{
		"":                   false,
		"ca = \"ca.crt\"":    true,
		"skip_verify = true": true,
	} {
		dir := t.TempDir()
		d := filepath.Join(dir, name)
		if err := errors.Join(os.Mkdir(d, 0o700), os.WriteFile(filepath.Join(d, "ca.crt"), ca, 0o600),
			os.WriteFile(filepath.Join(d, "hosts.toml"), []byte("server = \"https://"+name+"\"\n"+conf), 0o600)); err != nil {
			t.Fatal(err)
		}
		repo, err := New(Options{Dir: dir, Idle: 5 * time.Second}).Repository(name, "app", Credentials{})
		if err != nil {
			t.Fatal(err)
		}
		defer repo.Close()
		m, err := repo.Tag(t.Context(), "latest")
		if (err == nil) != ok || ok && string(m.Body) != emptyIndex || !ok && !errors.Is(err, ErrUnreachable) {
			t.Errorf("%q: %v", conf, err)
		}
		if !ok {
			continue
		}
		if _, err := repo.Tag(t.Context(), "down"); !errors.Is(err, errRedirect) {
			t.Errorf("redirect to http: %v", err)
		}
	}
}

func TestMissingCertificates(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "r.test"), 0o700),
		os.WriteFile(filepath.Join(dir, "r.test", "hosts.toml"), []byte(`ca = "none.crt"`), 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err := New(Options{Dir: dir}).Repository("r.test", "app", Credentials{})
	if err == nil || !strings.Contains(err.Error(), "none.crt") {
		t.Errorf("got %v", err)
	}
}
