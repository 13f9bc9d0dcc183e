package image

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Handler serves the images by the OCI distribution API. Blobs are compressed
// here, once; nothing is written to disk.
func Handler(images []Image) (http.Handler, error) {
	h := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	for _, img := range images {
		if err := push(h, img); err != nil {
			return nil, fmt.Errorf("serve %q: %w", img.Names[0], err)
		}
	}
	return h, nil
}

// push stores an image in the handler, without a network between them.
func push(h http.Handler, img Image) error {
	layers, err := img.Image.Layers()
	if err != nil {
		return err
	}
	manifest, err := img.Image.RawManifest()
	if err != nil {
		return err
	}
	kind, err := img.Image.MediaType()
	if err != nil {
		return err
	}
	for _, name := range img.Names {
		repo, tag, ok := strings.Cut(name, ":")
		if !ok {
			return fmt.Errorf("name %q has no tag", name)
		}
		for _, l := range layers {
			if err := pushLayer(h, repo, l); err != nil {
				return err
			}
		}
		if err := pushConfig(h, repo, img.Image); err != nil {
			return err
		}
		if err := put(h, http.MethodPut, "/v2/"+repo+"/manifests/"+tag, string(kind), manifest); err != nil {
			return err
		}
	}
	return nil
}

func pushLayer(h http.Handler, repo string, l v1.Layer) error {
	digest, err := l.Digest()
	if err != nil {
		return err
	}
	r, err := l.Compressed()
	if err != nil {
		return err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return pushBlob(h, repo, digest, data)
}

func pushConfig(h http.Handler, repo string, img v1.Image) error {
	digest, err := img.ConfigName()
	if err != nil {
		return err
	}
	data, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	return pushBlob(h, repo, digest, data)
}

func pushBlob(h http.Handler, repo string, digest v1.Hash, data []byte) error {
	return put(h, http.MethodPost, "/v2/"+repo+"/blobs/uploads/?digest="+url.QueryEscape(digest.String()), "application/octet-stream", data)
}

func put(h http.Handler, method, target, kind string, data []byte) error {
	req := httptest.NewRequest(method, target, strings.NewReader(string(data)))
	req.Header.Set("Content-Type", kind)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	if w.Code != http.StatusCreated {
		return fmt.Errorf("%s %s: %d %s", method, target, w.Code, w.Body)
	}
	return nil
}

// WriteHosts fills dir with a hosts.toml for each of hosts (and "_default" if
// it is among them) that sends pulls to the plain-HTTP registry at addr.
func WriteHosts(dir, addr string, hosts ...string) error {
	text := fmt.Sprintf("server = \"http://%s\"\n\n[host.\"http://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", addr, addr)
	for _, host := range hosts {
		d := filepath.Join(dir, host)
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(d, "hosts.toml"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
