package imagestore_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"slipway/imagestore"
	"slipway/imagestore/registrytest"
)

// TestReadFile: a file of an image, read twice, gone with the image.
func TestReadFile(t *testing.T) {
	reg := start(t)
	reg.Push("app", build(t, registrytest.Image{Layers: [][]file{
		{{Name: "etc/"}, {Name: "etc/passwd", Body: "below"}, {Name: "etc/group", Body: "group"}},
		{{Name: "etc/"}, {Name: "etc/passwd", Body: "above"}, {Name: "etc/.wh.group"}},
	}}), "latest")
	s := open(t, imagestore.Options{})
	img := pull(t, s, reg.Host()+"/app")
	for range 2 {
		if b, err := s.ReadFile(img.ID, "/etc/passwd", 100); err != nil || string(b) != "above" {
			t.Errorf("%q, %v", b, err)
		}
		if _, err := s.ReadFile(img.ID, "/etc/group", 100); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("removed by a layer: %v", err)
		}
		if _, err := s.ReadFile(img.ID, "/etc/passwd", 4); !errors.Is(err, imagestore.ErrCorrupt) {
			t.Errorf("over the limit: %v", err)
		}
	}
	root, err := s.View(img.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root.Lower[0], "etc/passwd"), []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := s.ReadFile(img.ID, "/etc/passwd", 100); err != nil || string(b) != "above" {
		t.Errorf("read again from the disk: %q, %v", b, err)
	}
	if err := s.Remove(t.Context(), img.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadFile(img.ID, "/etc/passwd", 100); !errors.Is(err, imagestore.ErrNotFound) {
		t.Errorf("of a removed image: %v", err)
	}
}
