package imagestore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/imagestore"
	"slipway/imagestore/registrytest"
)

type file = registrytest.File

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func start(t testing.TB) *registrytest.Server {
	t.Helper()
	s, err := registrytest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func build(t testing.TB, i registrytest.Image) *registrytest.Built {
	t.Helper()
	b, err := i.Build()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func simple(t testing.TB, body string) *registrytest.Built {
	t.Helper()
	return build(t, registrytest.Image{
		Layers: [][]file{
			{{Name: "bin/"}, {Name: "bin/sh", Body: "base", Mode: 0o755}},
			{{Name: "etc/"}, {Name: "etc/motd", Body: body}},
		},
		Config: ocispec.ImageConfig{Entrypoint: []string{"/bin/sh"}},
	})
}

func open(t testing.TB, o imagestore.Options) *imagestore.Store {
	t.Helper()
	needRoot(t)
	if o.Root == "" {
		o.Root = t.TempDir()
	}
	if testing.Verbose() {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	s, err := imagestore.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func pull(t testing.TB, s *imagestore.Store, ref string) imagestore.Image {
	t.Helper()
	img, err := s.Pull(timeout(t, 60*time.Second), imagestore.PullRequest{Reference: ref})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func timeout(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// content lists what the store holds of images: blobs, layers, records, and
// anything half made.
func content(t testing.TB, root string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(filepath.Join(root, "images"), func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		rel, _ := filepath.Rel(filepath.Join(root, "images"), p)
		parts := strings.Split(rel, string(filepath.Separator))
		switch parts[0] {
		case "layers", "refs", "tmp", "removing", "quarantine":
			if len(parts) == 2 {
				list = append(list, rel)
				if d.IsDir() {
					return fs.SkipDir
				}
			}
		case "blobs":
			if len(parts) == 3 {
				list = append(list, rel)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// eventually waits until the store holds just what is wanted; removal goes on
// in the background.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 3000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("never: %s", what)
}

func wantEmpty(t testing.TB, root string) {
	t.Helper()
	eventually(t, "nothing left", func() bool { return len(content(t, root)) == 0 })
	if left := content(t, root); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// merged reads a file as the overlay would show it.
func merged(t testing.TB, r imagestore.Root, name string) string {
	t.Helper()
	for _, l := range r.Lower {
		data, err := os.ReadFile(filepath.Join(l, name))
		if err == nil {
			return string(data)
		}
	}
	return ""
}

func TestPullAndNames(t *testing.T) {
	reg := start(t)
	b := simple(t, "one")
	reg.Push("team/app", b, "v1", "v2")
	s := open(t, imagestore.Options{})
	repo := reg.Host() + "/team/app"
	img := pull(t, s, repo+":v1")
	if img.ID != b.Config.String() {
		t.Errorf("id %s, want the config's digest %s", img.ID, b.Config)
	}
	if want := []string{repo + ":v1"}; !slices.Equal(img.Tags, want) {
		t.Errorf("tags %q, want %q", img.Tags, want)
	}
	if want := []string{repo + "@" + b.Digest.String()}; !slices.Equal(img.Digests, want) {
		t.Errorf("digests %q, want %q", img.Digests, want)
	}
	if want := uint64(len(b.Document)) + uint64(len(b.Blobs[b.Config])) + uint64(b.Layers[0].Size+b.Layers[1].Size); img.Size != want {
		t.Errorf("size %d, want %d", img.Size, want)
	}
	if !slices.Equal(img.Config.Config.Entrypoint, []string{"/bin/sh"}) {
		t.Errorf("config %+v", img.Config)
	}
	before := reg.Count("/blobs/")
	pull(t, s, repo+":v2")
	pull(t, s, repo+"@"+b.Digest.String())
	if n := reg.Count("/blobs/") - before; n != 0 {
		t.Errorf("%d blobs fetched again", n)
	}
	hex := b.Config.Encoded()
	for _, ref := range []string{
		repo + ":v1", repo + ":v2", repo + "@" + b.Digest.String(), repo + ":zz@" + b.Digest.String(),
		hex, "sha256:" + hex, hex[:12], "sha256:" + hex[:12],
	} {
		if got, err := s.Get(ref); err != nil || got.ID != img.ID {
			t.Errorf("get %q: %v, %v", ref, got.ID, err)
		}
	}
	for ref, want := range map[string]error{
		"busybox": imagestore.ErrNotFound, repo: imagestore.ErrNotFound, "abcdef12": imagestore.ErrNotFound,
		"sha256:" + strings.Repeat("0", 64): imagestore.ErrNotFound, "Bad Name": imagestore.ErrInvalid, "": imagestore.ErrInvalid,
		repo + "@md5:d41d8cd98f00b204e9800998ecf8427e": imagestore.ErrInvalid,
	} {
		if _, err := s.Get(ref); !errors.Is(err, want) {
			t.Errorf("get %q: %v, want %v", ref, err, want)
		}
	}
}

func TestTagAndDigestRecordsNoTag(t *testing.T) {
	reg := start(t)
	b := simple(t, "one")
	reg.Push("app", b, "v1")
	s := open(t, imagestore.Options{})
	img := pull(t, s, reg.Host()+"/app:other@"+b.Digest.String())
	if len(img.Tags) != 0 || len(img.Digests) != 1 {
		t.Errorf("tags %q, digests %q", img.Tags, img.Digests)
	}
	if n := reg.Count("/manifests/other"); n != 0 {
		t.Error("the tag was asked for")
	}
}

func TestOneImageFromTwoRegistries(t *testing.T) {
	one, two := start(t), start(t)
	b := simple(t, "one")
	one.Push("a", b, "latest")
	two.Push("b", b, "x")
	s := open(t, imagestore.Options{})
	pull(t, s, one.Host()+"/a")
	img := pull(t, s, two.Host()+"/b:x")
	if len(img.Tags) != 2 || len(img.Digests) != 2 || len(s.List()) != 1 {
		t.Errorf("got %+v", img)
	}
	if n := two.Count("/blobs/"); n != 0 {
		t.Errorf("%d blobs fetched twice", n)
	}
}

func TestTagMoves(t *testing.T) {
	reg := start(t)
	b1, b2 := simple(t, "one"), simple(t, "two")
	s := open(t, imagestore.Options{})
	reg.Push("app", b1, "v1")
	pull(t, s, reg.Host()+"/app:v1")
	reg.Push("app", b2, "v1")
	img := pull(t, s, reg.Host()+"/app:v1")
	if img.ID != b2.Config.String() || len(img.Tags) != 1 {
		t.Errorf("new: %+v", img)
	}
	old, err := s.Get(b1.Config.String())
	if err != nil || len(old.Tags) != 0 || !slices.Equal(old.Digests, []string{reg.Host() + "/app@" + b1.Digest.String()}) {
		t.Errorf("old: %+v, %v", old, err)
	}
	root, err := s.View(reg.Host() + "/app:v1")
	if err != nil || merged(t, root, "etc/motd") != "two" || merged(t, root, "bin/sh") != "base" {
		t.Errorf("view: %v, %v", root, err)
	}
}

func TestIndexByPlatform(t *testing.T) {
	reg := start(t)
	amd := build(t, registrytest.Image{Layers: [][]file{{{Name: "amd"}}}, Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"}})
	v7 := build(t, registrytest.Image{Layers: [][]file{{{Name: "v7"}}}, Platform: &ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}})
	arm := build(t, registrytest.Image{Layers: [][]file{{{Name: "arm64"}}}, Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64"}})
	win := build(t, registrytest.Image{Platform: &ocispec.Platform{OS: "windows", Architecture: "amd64"}})
	index, err := registrytest.Index(win, v7, arm, amd)
	if err != nil {
		t.Fatal(err)
	}
	reg.Push("multi", index, "latest")
	for platform, want := range map[string]*registrytest.Built{"linux/amd64": amd, "linux/arm64": arm, "linux/arm/v7": v7, "linux/arm/v8": v7} {
		s := open(t, imagestore.Options{Platform: platform})
		img := pull(t, s, reg.Host()+"/multi")
		if img.ID != want.Config.String() {
			t.Errorf("%s: wrong image", platform)
		}
		byIndex := reg.Host() + "/multi@" + index.Digest.String()
		byManifest := reg.Host() + "/multi@" + want.Digest.String()
		if !slices.Equal(img.Digests, []string{byIndex}) {
			t.Errorf("digests %q", img.Digests)
		}
		img = pull(t, s, byManifest)
		if len(img.Digests) != 2 {
			t.Errorf("digests %q", img.Digests)
		}
		for _, ref := range []string{byIndex, byManifest} {
			if got, err := s.Get(ref); err != nil || got.ID != img.ID {
				t.Errorf("get %q: %v", ref, err)
			}
		}
	}
	s := open(t, imagestore.Options{Platform: "linux/riscv64"})
	_, err = s.Pull(t.Context(), imagestore.PullRequest{Reference: reg.Host() + "/multi"})
	if !errors.Is(err, imagestore.ErrNotFound) || !strings.Contains(err.Error(), "linux/riscv64") || !strings.Contains(err.Error(), "linux/arm64") {
		t.Errorf("got %v", err)
	}
}

func TestMediaTypes(t *testing.T) {
	reg := start(t)
	s := open(t, imagestore.Options{})
	for name, i := range map[string]registrytest.Image{
		"gzip": {}, "zstd": {Compression: "zstd"}, "none": {Compression: "none"}, "docker": {Docker: true},
	} {
		i.Layers = [][]file{{{Name: "etc/"}, {Name: "etc/kind", Body: name}}}
		b := build(t, i)
		reg.Push(name, b, "latest")
		img := pull(t, s, reg.Host()+"/"+name)
		root, err := s.View(img.ID)
		if err != nil || merged(t, root, "etc/kind") != name {
			t.Errorf("%s: %v, %v", name, root, err)
		}
	}
	reg.Push("empty", build(t, registrytest.Image{}), "latest")
	root, err := s.NewRoot(t.Context(), pull(t, s, reg.Host()+"/empty").ID, "c")
	if err != nil || len(root.Lower) != 1 {
		t.Errorf("image without layers: %v, %v", root, err)
	}
}

func TestRemove(t *testing.T) {
	reg := start(t)
	one, two := simple(t, "one"), simple(t, "two")
	reg.Push("app", one, "v1", "v2")
	reg.Push("app", two, "w")
	dir := t.TempDir()
	s := open(t, imagestore.Options{Root: dir})
	img := pull(t, s, reg.Host()+"/app:v1")
	pull(t, s, reg.Host()+"/app:v2")
	pull(t, s, reg.Host()+"/app:w")
	fsBefore, _ := s.FS()
	root, err := s.NewRoot(t.Context(), img.ID, "ctr")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), reg.Host()+"/app:v1"); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{":v1", ":v2", "@" + one.Digest.String()} {
		if _, err := s.Get(reg.Host() + "/app" + ref); !errors.Is(err, imagestore.ErrNotFound) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if err := s.Remove(t.Context(), reg.Host()+"/app:v1"); !errors.Is(err, imagestore.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	if merged(t, root, "etc/motd") != "one" || merged(t, root, "bin/sh") != "base" {
		t.Error("content of a container's root is gone")
	}
	if err := s.RemoveRoot(t.Context(), "ctr"); err != nil {
		t.Fatal(err)
	}
	if merged(t, root, "etc/motd") != "" {
		t.Error("content is still there")
	}
	if view, err := s.View(reg.Host() + "/app:w"); err != nil || merged(t, view, "bin/sh") != "base" {
		t.Error("a shared layer is gone")
	}
	if fsAfter, _ := s.FS(); fsAfter.Bytes >= fsBefore.Bytes || fsAfter.Inodes >= fsBefore.Inodes || fsAfter.Bytes == 0 {
		t.Errorf("usage was %+v, is %+v", fsBefore, fsAfter)
	}
	if err := s.Remove(t.Context(), two.Config.String()); err != nil {
		t.Fatal(err)
	}
	wantEmpty(t, dir)
	if info, _ := s.FS(); info.Bytes != 0 || info.Inodes != 0 {
		t.Errorf("usage of nothing: %+v", info)
	}
}

func TestRestart(t *testing.T) {
	reg := start(t)
	reg.Push("app", simple(t, "one"), "v1")
	reg.Push("app", simple(t, "two"), "v2")
	dir := t.TempDir()
	s := open(t, imagestore.Options{Root: dir})
	img := pull(t, s, reg.Host()+"/app:v1")
	pull(t, s, reg.Host()+"/app:v2")
	root, err := s.NewRoot(t.Context(), img.ID, "ctr")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), img.ID); err != nil {
		t.Fatal(err)
	}
	images, before := fmt.Sprintf("%+v", s.List()), content(t, dir)
	info, _ := s.FS()
	s.Close()
	// What a crash may leave.
	for _, d := range []string{"images/tmp/layer-1/fs/etc", "images/removing/x/y", "containers/.removing/z"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"images/refs/.tmp-1", "images/blobs/sha256/.tmp-2", "images/blobs/sha256/" + strings.Repeat("0", 64)} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, imagestore.Options{Root: dir})
	if got := fmt.Sprintf("%+v", s.List()); got != images {
		t.Errorf("images:\n%s\nwere:\n%s", got, images)
	}
	eventually(t, "cleaned", func() bool { return slices.Equal(content(t, dir), before) })
	if got := content(t, dir); !slices.Equal(got, before) {
		t.Errorf("content:\n%q\nwas:\n%q", got, before)
	}
	if after, _ := s.FS(); after != info {
		t.Errorf("usage %+v, was %+v", after, info)
	}
	if again, err := s.Root("ctr"); err != nil || fmt.Sprint(again) != fmt.Sprint(root) || merged(t, again, "etc/motd") != "one" {
		t.Errorf("root %+v, %v; was %+v", again, err, root)
	}
	if got := s.Containers(); !slices.Equal(got, []string{"ctr"}) {
		t.Errorf("containers %q", got)
	}
	if err := s.RemoveRoot(t.Context(), "ctr"); err != nil {
		t.Fatal(err)
	}
	if merged(t, root, "etc/motd") != "" {
		t.Error("the layer of a removed image outlived its last root")
	}
}

func TestBadRecordsAreQuarantined(t *testing.T) {
	reg := start(t)
	one, two := simple(t, "one"), simple(t, "two")
	reg.Push("app", one, "v1")
	reg.Push("app", two, "v2")
	for name, damage := range map[string]func(t *testing.T, dir string){
		"image record": func(t *testing.T, dir string) { spoil(t, dir, "images/refs/image-"+one.Config.Encoded()+".json", "{") },
		"other version": func(t *testing.T, dir string) {
			spoil(t, dir, "images/refs/image-"+one.Config.Encoded()+".json", `{"version":2}`)
		},
		"config":        func(t *testing.T, dir string) { spoil(t, dir, "images/blobs/sha256/"+one.Config.Encoded(), "{}") },
		"manifest":      func(t *testing.T, dir string) { spoil(t, dir, "images/blobs/sha256/"+one.Digest.Encoded(), "") },
		"layer record":  func(t *testing.T, dir string) { spoil(t, dir, layerOf(t, dir, "one")+"/layer.json", "") },
		"layer missing": func(t *testing.T, dir string) { os.RemoveAll(filepath.Join(dir, layerOf(t, dir, "one"))) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, imagestore.Options{Root: dir})
			pull(t, s, reg.Host()+"/app:v1")
			pull(t, s, reg.Host()+"/app:v2")
			s.Close()
			damage(t, dir)
			s = open(t, imagestore.Options{Root: dir})
			if len(s.List()) != 1 || s.List()[0].ID != two.Config.String() {
				t.Errorf("images %+v", s.List())
			}
			if found, _ := os.ReadDir(filepath.Join(dir, "images/quarantine")); len(found) == 0 {
				t.Error("nothing in quarantine")
			}
			root, err := s.View(pull(t, s, reg.Host()+"/app:v1").ID)
			if err != nil || merged(t, root, "etc/motd") != "one" {
				t.Errorf("a pull does not repair it: %v", err)
			}
		})
	}
}

func spoil(t *testing.T, dir, file, body string) {
	t.Helper()
	p := filepath.Join(dir, file)
	if _, err := os.Stat(p); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
}

// layerOf finds the layer with a certain motd.
func layerOf(t *testing.T, dir, motd string) string {
	t.Helper()
	all, _ := filepath.Glob(filepath.Join(dir, "images/layers/*/fs/etc/motd"))
	for _, p := range all {
		if data, _ := os.ReadFile(p); string(data) == motd {
			rel, _ := filepath.Rel(dir, filepath.Dir(filepath.Dir(filepath.Dir(p))))
			return rel
		}
	}
	t.Fatal("no such layer")
	return ""
}

func TestBadRootRecord(t *testing.T) {
	reg := start(t)
	reg.Push("app", simple(t, "one"), "v1")
	dir := t.TempDir()
	s := open(t, imagestore.Options{Root: dir})
	img := pull(t, s, reg.Host()+"/app:v1")
	if _, err := s.NewRoot(t.Context(), img.ID, "ctr"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	spoil(t, dir, "containers/ctr/root.json", "")
	s = open(t, imagestore.Options{Root: dir})
	if _, err := s.Root("ctr"); !errors.Is(err, imagestore.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
	if !slices.Equal(s.Containers(), []string{"ctr"}) {
		t.Errorf("containers %q", s.Containers())
	}
	if err := s.RemoveRoot(t.Context(), "ctr"); err != nil {
		t.Error(err)
	}
}

func TestRoots(t *testing.T) {
	reg := start(t)
	b := build(t, registrytest.Image{Layers: [][]file{
		{{Name: "./", Mode: 0o1750, UID: 7}, {Name: "tmp/", Mode: 0o1777}, {Name: "a", Body: "1"}},
		{{Name: "tmp/x", Body: "2"}},
		{{Name: "b", Body: "3"}},
	}})
	reg.Push("app", b, "latest")
	vol := build(t, registrytest.Image{Layers: [][]file{{{Name: "data", Body: "d"}}}})
	reg.Push("vol", vol, "latest")
	dir := t.TempDir()
	s := open(t, imagestore.Options{Root: dir, UsageAge: time.Nanosecond})
	img := pull(t, s, reg.Host()+"/app")
	root, err := s.NewRoot(t.Context(), img.ID[:20], "ctr")
	if err != nil {
		t.Fatal(err)
	}
	if len(root.Lower) != 3 || merged(t, imagestore.Root{Lower: root.Lower[:1]}, "b") != "3" {
		t.Errorf("lowers %q: want the top one first", root.Lower)
	}
	if fi, err := os.Stat(root.Upper); err != nil || fi.Mode() != fs.ModeDir|fs.ModeSticky|0o750 {
		t.Errorf("upper: %v, %v; want the mode of the image's root", fi.Mode(), err)
	}
	if fi, err := os.Stat(filepath.Join(root.Lower[1], "tmp")); err != nil || fi.Mode() != fs.ModeDir|fs.ModeSticky|0o777 {
		t.Errorf("a directory that the layer does not mention: %v, %v; want the mode below", fi.Mode(), err)
	}
	for _, d := range []string{"images", "images/layers", "containers", "containers/ctr"} {
		if fi, err := os.Stat(filepath.Join(dir, d)); err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", d, fi.Mode(), err)
		}
	}
	if _, err := s.NewRoot(t.Context(), img.ID, "ctr"); !errors.Is(err, imagestore.ErrExists) {
		t.Errorf("twice: %v", err)
	}
	for _, id := range []string{"", "..", ".removing", "a/b", strings.Repeat("x", 200)} {
		if _, err := s.NewRoot(t.Context(), img.ID, id); !errors.Is(err, imagestore.ErrInvalid) {
			t.Errorf("id %q: %v", id, err)
		}
		if err := s.RemoveRoot(t.Context(), id); !errors.Is(err, imagestore.ErrInvalid) {
			t.Errorf("remove id %q: %v", id, err)
		}
	}
	if _, err := s.NewRoot(t.Context(), "nope", "other"); !errors.Is(err, imagestore.ErrNotFound) {
		t.Errorf("unknown image: %v", err)
	}
	pull(t, s, reg.Host()+"/vol")
	view, err := s.UseView(t.Context(), reg.Host()+"/vol", "ctr")
	if err != nil || len(view.Lower) < 2 || view.Upper != "" {
		t.Fatalf("view %+v, %v", view, err)
	}
	if err := s.Remove(t.Context(), reg.Host()+"/vol"); err != nil {
		t.Fatal(err)
	}
	if merged(t, view, "data") != "d" {
		t.Error("an image volume lost its content")
	}
	first, err := s.Usage(t.Context(), "ctr")
	if err != nil || first.Inodes != 1 || first.At.IsZero() || first.Disk.Bytes == 0 || first.Disk.InodesFree > first.Disk.Inodes {
		t.Errorf("usage %+v, %v", first, err)
	}
	if err := os.WriteFile(filepath.Join(root.Upper, "f"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "usage grows", func() bool {
		u, err := s.Usage(t.Context(), "ctr")
		return err == nil && u.Inodes == 2 && u.Bytes >= first.Bytes+1<<20 && u.At.After(first.At)
	})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Usage(ended, "ctr"); err != nil {
		t.Errorf("a known count waits: %v", err)
	}
	if _, err := s.Usage(t.Context(), "none"); !errors.Is(err, imagestore.ErrNotFound) {
		t.Errorf("usage of nothing: %v", err)
	}
	for range 2 {
		if err := s.RemoveRoot(t.Context(), "ctr"); err != nil {
			t.Error(err)
		}
	}
	if merged(t, view, "data") != "" {
		t.Error("the image volume's content outlived the container")
	}
	eventually(t, "containers empty", func() bool {
		left, _ := os.ReadDir(filepath.Join(dir, "containers/.removing"))
		return len(left) == 0
	})
}

func TestRootOpaqueHidesLayers(t *testing.T) {
	reg := start(t)
	reg.Push("app", build(t, registrytest.Image{Layers: [][]file{{{Name: "a"}}, {{Name: ".wh..wh..opq"}, {Name: "b"}}, {{Name: "c"}}}}), "latest")
	s := open(t, imagestore.Options{})
	root, err := s.NewRoot(t.Context(), pull(t, s, reg.Host()+"/app").ID, "ctr")
	if err != nil || len(root.Lower) != 2 {
		t.Errorf("got %v, %v", root, err)
	}
}

func TestChainedLayerIsNotSharedAcrossChains(t *testing.T) {
	reg := start(t)
	top := []file{{Name: "d/x"}}
	for name, mode := range map[string]int64{"a": 0o700, "b": 0o777} {
		reg.Push(name, build(t, registrytest.Image{Layers: [][]file{{{Name: "d/", Mode: mode}}, top}}), "latest")
	}
	s := open(t, imagestore.Options{})
	for name, mode := range map[string]fs.FileMode{"a": 0o700, "b": 0o777} {
		root, err := s.View(pull(t, s, reg.Host()+"/"+name).ID)
		if err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Stat(filepath.Join(root.Lower[0], "d")); err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, fi.Mode(), err)
		}
	}
}

func TestPinned(t *testing.T) {
	reg := start(t)
	reg.Push("a/one", simple(t, "1"), "latest")
	reg.Push("b", simple(t, "2"), "latest")
	s := open(t, imagestore.Options{Pinned: []string{reg.Host() + "/a/*"}})
	if !pull(t, s, reg.Host()+"/a/one").Pinned || pull(t, s, reg.Host()+"/b").Pinned {
		t.Error("pinned")
	}
}

func TestConcurrentPulls(t *testing.T) {
	reg := start(t)
	b := simple(t, "one")
	other := simple(t, "two") // shares the first layer
	reg.Push("app", b, "v1")
	reg.Push("other", other, "v1")
	gate := make(chan struct{})
	reg.SetFault(func(r *http.Request) *registrytest.Fault {
		if strings.Contains(r.URL.Path, "/blobs/") {
			<-gate
		}
		return nil
	})
	s := open(t, imagestore.Options{})
	var all sync.WaitGroup
	errs := make(chan error, 60)
	ctx := timeout(t, 60*time.Second)
	for i := range 50 {
		all.Go(func() {
			ref := reg.Host() + "/app:v1"
			if i%5 == 4 {
				ref = reg.Host() + "/other:v1"
			}
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			if i%10 == 1 { // goes away; nobody else may suffer
				time.AfterFunc(50*time.Millisecond, cancel)
			}
			_, err := s.Pull(ctx, imagestore.PullRequest{Reference: ref})
			if err != nil && i%10 != 1 {
				errs <- err
			}
		})
	}
	time.AfterFunc(200*time.Millisecond, func() { close(gate) })
	all.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	for _, d := range []digest.Digest{b.Layers[0].Digest, b.Layers[1].Digest, other.Layers[1].Digest} {
		if n := reg.Count(d.String()); n != 1 {
			t.Errorf("layer %s was fetched %d times", d, n)
		}
	}
}

func TestPullRemoveStorm(t *testing.T) {
	reg := start(t)
	for i := range 4 {
		reg.Push(fmt.Sprint("app", i), simple(t, fmt.Sprint(i)), "v1")
	}
	dir := t.TempDir()
	s := open(t, imagestore.Options{Root: dir})
	ctx := timeout(t, 120*time.Second)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 12 {
				ref := fmt.Sprintf("%s/app%d:v1", reg.Host(), (i+j)%4)
				id := fmt.Sprintf("c%d-%d", i, j)
				img, err := s.Pull(ctx, imagestore.PullRequest{Reference: ref})
				if err != nil {
					t.Errorf("pull: %v", err)
					return
				}
				root, err := s.NewRoot(ctx, img.ID, id)
				if errors.Is(err, imagestore.ErrNotFound) {
					continue // another removed it in between
				}
				if err != nil {
					t.Errorf("root: %v", err)
					return
				}
				if err := s.Remove(ctx, ref); err != nil && !errors.Is(err, imagestore.ErrNotFound) {
					t.Errorf("remove: %v", err)
				}
				if got := merged(t, root, "etc/motd"); got != fmt.Sprint((i+j)%4) || merged(t, root, "bin/sh") != "base" {
					t.Errorf("content of a root in use is %q", got)
				}
				if err := s.RemoveRoot(ctx, id); err != nil {
					t.Errorf("remove root: %v", err)
				}
			}
		})
	}
	all.Wait()
	for _, img := range s.List() {
		if err := s.Remove(ctx, img.ID); err != nil {
			t.Error(err)
		}
	}
	wantEmpty(t, dir)
}

func TestCancelLeavesNothing(t *testing.T) {
	reg := start(t)
	b := build(t, registrytest.Image{Compression: "none", Layers: [][]file{
		{{Name: "small"}}, {{Name: "big", Body: strings.Repeat("0123456789abcdef", 1<<16)}},
	}})
	reg.Push("app", b, "v1")
	reg.SetFault(func(r *http.Request) *registrytest.Fault {
		if strings.HasSuffix(r.URL.Path, b.Layers[1].Digest.String()) {
			return &registrytest.Fault{Stall: 1 << 19}
		}
		return nil
	})
	dir := t.TempDir()
	s := open(t, imagestore.Options{Root: dir})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Pull(ctx, imagestore.PullRequest{Reference: reg.Host() + "/app:v1"})
		done <- err
	}()
	eventually(t, "the layer begins", func() bool {
		return slices.ContainsFunc(content(t, dir), func(p string) bool { return strings.HasPrefix(p, "tmp/") })
	})
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("a cancelled pull goes on")
	}
	wantEmpty(t, dir)
	reg.SetFault(nil)
	pull(t, s, reg.Host()+"/app:v1")
}

func TestImport(t *testing.T) {
	b := simple(t, "one")
	arm := build(t, registrytest.Image{Platform: &ocispec.Platform{OS: "linux", Architecture: "s390x"}})
	index, err := registrytest.Index(arm, b)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		write   func(w *bytes.Buffer) error
		tags    []string
		digests []string
	}{
		"oci":        {func(w *bytes.Buffer) error { return b.WriteOCI(w, "example.org/app:v1") }, []string{"example.org/app:v1"}, []string{"example.org/app@" + b.Digest.String()}},
		"oci bare":   {func(w *bytes.Buffer) error { return b.WriteOCI(w, "v1") }, nil, nil},
		"oci none":   {func(w *bytes.Buffer) error { return b.WriteOCI(w) }, nil, nil},
		"oci nested": {func(w *bytes.Buffer) error { return index.WriteOCI(w, "docker.io/app") }, []string{"docker.io/library/app:latest"}, []string{"docker.io/library/app@" + index.Digest.String()}},
		"oci two":    {func(w *bytes.Buffer) error { return b.WriteOCI(w, "a/b:1", "a/b:2") }, []string{"docker.io/a/b:1", "docker.io/a/b:2"}, []string{"docker.io/a/b@" + b.Digest.String()}},
		"docker":     {func(w *bytes.Buffer) error { return b.WriteDocker(w, "app:v1", "app:v2") }, []string{"docker.io/library/app:v1", "docker.io/library/app:v2"}, nil},
		"docker id":  {func(w *bytes.Buffer) error { return b.WriteDocker(w) }, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var w bytes.Buffer
			if err := c.write(&w); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			s := open(t, imagestore.Options{Root: dir})
			images, err := s.Import(t.Context(), &w)
			if err != nil {
				t.Fatal(err)
			}
			if len(images) != 1 || images[0].ID != b.Config.String() || images[0].Size == 0 ||
				!slices.Equal(images[0].Tags, c.tags) || !slices.Equal(images[0].Digests, c.digests) {
				t.Errorf("got %+v", images)
			}
			root, err := s.View(b.Config.String())
			if err != nil || merged(t, root, "etc/motd") != "one" {
				t.Errorf("view %v, %v", root, err)
			}
			s.Close()
			if s = open(t, imagestore.Options{Root: dir}); len(s.List()) != 1 {
				t.Error("lost by a restart")
			}
			if err := s.Remove(t.Context(), b.Config.String()); err != nil {
				t.Fatal(err)
			}
			wantEmpty(t, dir)
		})
	}
}

func TestImportIsVerified(t *testing.T) {
	lie := build(t, registrytest.Image{Layers: [][]file{{{Name: "a"}}}, DiffIDs: []digest.Digest{digest.FromString("x")}})
	good := simple(t, "one")
	var oci, docker, lying bytes.Buffer
	if err := errors.Join(good.WriteOCI(&oci, "a:1"), good.WriteDocker(&docker, "a:1"), lie.WriteOCI(&lying)); err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(oci.Bytes())
	at := bytes.Index(flipped, []byte{0x1f, 0x8b, 8})
	flipped[at+40] ^= 1
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"bit":         {flipped, imagestore.ErrCorrupt},
		"diffID":      {lying.Bytes(), imagestore.ErrCorrupt},
		"cut oci":     {oci.Bytes()[:oci.Len()/2], imagestore.ErrCorrupt},
		"cut docker":  {docker.Bytes()[:docker.Len()/2], imagestore.ErrCorrupt},
		"not a tar":   {bytes.Repeat([]byte("hello "), 1000), imagestore.ErrCorrupt},
		"empty":       {nil, imagestore.ErrInvalid},
		"other tar":   {mustTar(t, file{Name: "x"}), imagestore.ErrInvalid},
		"empty index": {mustTar(t, file{Name: "index.json", Body: `{"schemaVersion":2,"manifests":[]}`}), imagestore.ErrNotFound},
		"traversal":   {mustTar(t, file{Name: "manifest.json", Body: `[{"Config":"../../../../etc/hostname","Layers":[]}]`}), imagestore.ErrCorrupt},
		"link out":    {mustTar(t, file{Name: "manifest.json", Body: `[{"Config":"c","Layers":[]}]`}, file{Name: "c", Link: "/etc/hostname"}), imagestore.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, imagestore.Options{Root: dir})
			_, err := s.Import(t.Context(), bytes.NewReader(c.data))
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			wantEmpty(t, dir)
		})
	}
}

func mustTar(t testing.TB, files ...file) []byte {
	t.Helper()
	data, err := registrytest.Tar(files)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
