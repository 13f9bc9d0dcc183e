package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"slipway/test/image"
	"slipway/test/machine"
)

// serveRegistry serves the demo's image on a loopback port until ctx ends.
func (d *demo) serveRegistry(ctx context.Context) (ref string, err error) {
	err = d.show.step("registry", "", func() (string, error) {
		bin, err := machine.Bin()
		if err != nil {
			return "", err
		}
		app, err := os.ReadFile(filepath.Join(bin, "demo-app"))
		if err != nil {
			return "", err
		}
		img, err := demoImage(app)
		if err != nil {
			return "", err
		}
		const name = "demo/hello:1"
		handler, err := image.Handler([]image.Image{{Names: []string{name}, Image: img}})
		if err != nil {
			return "", err
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		srv := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
		go func() { _ = srv.Serve(l) }()
		context.AfterFunc(ctx, func() { _ = srv.Close() })
		ref = l.Addr().String() + "/" + name
		return fmt.Sprintf("%s: one static Go program, %.1f MB", ref, float64(len(app))/1e6), nil
	})
	return ref, err
}

// demoImage is an image of one layer with one file.
func demoImage(app []byte) (v1.Image, error) {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, h := range []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "etc/", Mode: 0o755},
		{Typeflag: tar.TypeReg, Name: "app", Mode: 0o755, Size: int64(len(app))},
	} {
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(app); err != nil {
				return nil, err
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.AppendLayers(base, static.NewLayer(layer.Bytes(), types.OCIUncompressedLayer))
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = runtime.GOARCH, "linux"
	config.Config = v1.Config{Entrypoint: []string{"/app"}, User: "65534:65534"}
	return mutate.ConfigFile(img, config)
}

// short cuts an id for a person.
func short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(12, len(id))]
}
