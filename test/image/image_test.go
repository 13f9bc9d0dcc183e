package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestArchiveIsDeterministicAndComplete(t *testing.T) {
	tr := tree{}
	tr.file("bin/busybox", 0o755, "x")
	tr.hard("bin/ash", "bin/busybox")
	tr.soft("lib64", "lib")
	first, err := tr.archive()
	if err != nil {
		t.Fatal(err)
	}
	second, err := tr.archive()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("two archives of one tree differ")
	}
	var names []string
	r := tar.NewReader(bytes.NewReader(first))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || !h.ModTime.IsZero() && h.ModTime.Unix() != 0 {
			t.Errorf("%s: owner %d, time %s", h.Name, h.Uid, h.ModTime)
		}
		if h.Typeflag == tar.TypeLink && h.Mode != 0o755 {
			t.Errorf("%s: mode %o; an unpacker would set it on the target", h.Name, h.Mode)
		}
		names = append(names, h.Name)
	}
	if got, want := strings.Join(names, " "), "bin/ bin/busybox lib64 bin/ash"; got != want {
		t.Errorf("entries %q, want %q (a link after its target)", got, want)
	}
}

func TestStaticBusyboxIsRefused(t *testing.T) {
	root, err := repository(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	if _, err := compile(t.Context(), root, cache, "pause"); err != nil {
		t.Fatal(err)
	}
	static := filepath.Join(cache, "pause")
	text := filepath.Join(t.TempDir(), "busybox")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{text, static, "/does/not/exist"} {
		if got, err := findBusybox([]string{file}); !errors.Is(err, ErrNoBusybox) {
			t.Errorf("findBusybox(%q) = %q, %v", file, got, err)
		}
	}
}

func TestCatalogNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range catalog() {
		for _, name := range s.names {
			if repo, tag, ok := strings.Cut(name, ":"); !ok || repo == "" || tag == "" || seen[name] {
				t.Errorf("name %q is bad or a duplicate", name)
			}
			seen[name] = true
		}
	}
}

// RepoTags of one image must not list another's, so no two images may be one.
func TestBuiltImagesDifferAndAreServed(t *testing.T) {
	images, err := Build(t.Context(), Options{})
	if errors.Is(err, ErrNoBusybox) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	ids := map[v1.Hash]string{}
	for _, img := range images {
		id, err := img.Image.ConfigName()
		if err != nil {
			t.Fatal(err)
		}
		if other := ids[id]; other != "" {
			t.Errorf("%s is the same image as %s", img.Names[0], other)
		}
		ids[id] = img.Names[0]
	}
	h, err := Handler(images)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/v2/pause/manifests/3.9", nil))
	var m v1.Manifest
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || len(m.Layers) != 1 {
		t.Fatalf("manifest of pause: %d %s: %v", w.Code, w.Body, err)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/v2/pause/blobs/"+m.Layers[0].Digest.String(), nil))
	if w.Code != 200 || int64(w.Body.Len()) != m.Layers[0].Size {
		t.Errorf("layer of pause: %d, %d bytes, want %d", w.Code, w.Body.Len(), m.Layers[0].Size)
	}
}

func TestWriteHosts(t *testing.T) {
	dir := t.TempDir()
	if err := WriteHosts(dir, "127.0.0.1:5", Hosts()...); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "registry.k8s.io", "hosts.toml"))
	if err != nil || !strings.Contains(string(text), `[host."http://127.0.0.1:5"]`) {
		t.Errorf("hosts.toml: %v\n%s", err, text)
	}
}
