package image

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Options say what the images are made of. The zero value works from anywhere
// inside the repository.
type Options struct {
	// Cache holds the programs between runs. Default: bin/image of the repository.
	Cache string
	// Busybox are files to try, in order. Default: what hack/install.sh
	// fetched, then the host's.
	Busybox []string
}

// Image is one image with all its names, each "repository:tag" without a host.
type Image struct {
	Names []string
	Image v1.Image
}

// Build makes every image of the catalog. It runs the Go compiler for the
// static programs; a second call finds them in the compiler's cache.
func Build(ctx context.Context, o Options) ([]Image, error) {
	root, err := repository(ctx)
	if err != nil {
		return nil, err
	}
	if o.Cache == "" {
		o.Cache = filepath.Join(root, "bin", "image")
	}
	if o.Busybox == nil {
		o.Busybox = []string{filepath.Join(root, "bin", "deps", "bin", "busybox"), "/bin/busybox", "/usr/bin/busybox"}
	}
	trees, err := trees(ctx, root, o)
	if err != nil {
		return nil, err
	}
	layers := map[string]v1.Layer{}
	for name, t := range trees {
		if layers[name], err = layer(t); err != nil {
			return nil, fmt.Errorf("layer %q: %w", name, err)
		}
	}
	var images []Image
	for _, s := range catalog() {
		img, err := s.build(layers)
		if err != nil {
			return nil, fmt.Errorf("image %q: %w", s.names[0], err)
		}
		images = append(images, Image{Names: s.names, Image: img})
	}
	return images, nil
}

// trees makes the content of every layer that the catalog names.
func trees(ctx context.Context, root string, o Options) (map[string]tree, error) {
	busybox, err := findBusybox(o.Busybox)
	if err != nil {
		return nil, err
	}
	base, err := busyboxTree(busybox)
	if err != nil {
		return nil, err
	}
	box, err := compile(ctx, root, o.Cache, "box")
	if err != nil {
		return nil, err
	}
	pause, err := compile(ctx, root, o.Cache, "pause")
	if err != nil {
		return nil, err
	}
	program := func(name string, mode int64) tree { return tree{name: {mode: mode, data: box}} }
	procs := program("bin/pgrep", 0o755)
	procs.hard("bin/ipcs", "bin/pgrep")
	groups := tree{}
	groups.file("etc/passwd", 0o644, passwd+"default-user:x:1000:1000:default-user:/home:/bin/sh\n")
	groups.file("etc/group", 0o644, group+"default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n")
	return map[string]tree{
		"busybox": base,
		"procs":   procs,
		"group":   groups,
		"nginx":   program("usr/sbin/nginx", 0o755),
		"httpd":   program("usr/sbin/httpd", 0o755),
		"nnp":     program("nnp", 0o4755),
		"pause":   {"pause": {mode: 0o755, data: pause}},
	}, nil
}

// compile returns the static program of this package's directory name.
func compile(ctx context.Context, root, cache, name string) ([]byte, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	out := filepath.Join(cache, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", out, "./test/image/"+name)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build test/image/%s: %w\n%s", name, err, msg)
	}
	return os.ReadFile(out)
}

// repository is the directory of this module's go.mod.
func repository(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	mod := string(bytes.TrimSpace(out))
	if filepath.Base(mod) != "go.mod" {
		return "", fmt.Errorf("find the repository: not inside it")
	}
	return filepath.Dir(mod), nil
}

func (s spec) build(layers map[string]v1.Layer) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	var add []v1.Layer
	for _, name := range s.layers {
		l, ok := layers[name]
		if !ok {
			return nil, fmt.Errorf("no layer %q", name)
		}
		add = append(add, l)
	}
	if s.mark {
		t := tree{}
		t.file("etc/image-name", 0o644, s.names[0]+"\n")
		l, err := layer(t)
		if err != nil {
			return nil, err
		}
		add = append(add, l)
	}
	img, err := mutate.AppendLayers(img, add...)
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(img, &v1.ConfigFile{
		Created:      v1.Time{Time: time.Unix(0, 0).UTC()},
		Architecture: runtime.GOARCH,
		OS:           "linux",
		Config:       s.config,
		RootFS:       rootFS(img),
	})
}

func rootFS(img v1.Image) v1.RootFS {
	c, err := img.ConfigFile()
	if err != nil {
		return v1.RootFS{Type: "layers"}
	}
	return c.RootFS
}

// bytesLayer is an uncompressed tar in memory.
type bytesLayer struct {
	tar    []byte
	diffID v1.Hash
}

// layer packs a tree as a gzip layer. It is compressed once, here.
func layer(t tree) (v1.Layer, error) {
	data, err := t.archive()
	if err != nil {
		return nil, err
	}
	h, _, err := v1.SHA256(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return partial.UncompressedToLayer(&bytesLayer{tar: data, diffID: h})
}

func (l *bytesLayer) DiffID() (v1.Hash, error) { return l.diffID, nil }
func (l *bytesLayer) Uncompressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.tar)), nil
}
func (l *bytesLayer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }
