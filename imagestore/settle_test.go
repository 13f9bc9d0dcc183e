package imagestore_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway/imagestore"
)

// unsettled lists the layers whose records name a boot.
func unsettled(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "images/layers/*/layer.json"))
	if err != nil || len(all) == 0 {
		t.Fatal("no layers", err)
	}
	var list []string
	for _, p := range all {
		if b, err := os.ReadFile(p); err != nil || bytes.Contains(b, []byte(`"boot"`)) {
			list = append(list, p)
		}
	}
	return list
}

// setBoot makes a layer's record what it was before the layer was synced.
func setBoot(t *testing.T, dir, layer, boot string) {
	t.Helper()
	p := filepath.Join(dir, layer, "layer.json")
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	b = append(bytes.TrimSuffix(bytes.TrimSpace(b), []byte("}")), `,"boot":"`+boot+`"}`...)
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPulledImagesSettle: a pull is on the disk soon after its answer, and when
// the store is closed; an import before its answer.
func TestPulledImagesSettle(t *testing.T) {
	reg := start(t)
	built := simple(t, "one")
	reg.Push("app", built, "v1")
	reg.Push("app", simple(t, "two"), "v2")
	dir := t.TempDir()
	s := open(t, imagestore.Options{Root: dir})
	pull(t, s, reg.Host()+"/app:v1")
	eventually(t, "settled", func() bool { return len(unsettled(t, dir)) == 0 })
	pull(t, s, reg.Host()+"/app:v2")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if left := unsettled(t, dir); len(left) > 0 {
		t.Errorf("closed, and not on the disk: %q", left)
	}
	dir = t.TempDir()
	s = open(t, imagestore.Options{Root: dir})
	var archive bytes.Buffer
	if err := built.WriteOCI(&archive, "app:v1"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Import(t.Context(), &archive); err != nil {
		t.Fatal(err)
	}
	if left := unsettled(t, dir); len(left) > 0 {
		t.Errorf("imported, and not on the disk: %q", left)
	}
}

// TestPowerCut: of what was pulled just before, nothing is believed, and the
// next pull makes it whole. A mere restart of the daemon loses nothing.
func TestPowerCut(t *testing.T) {
	reg := start(t)
	one, two := simple(t, "one"), simple(t, "two")
	reg.Push("app", one, "v1")
	reg.Push("app", two, "v2")
	dir := t.TempDir()
	s := open(t, imagestore.Options{Root: dir})
	pull(t, s, reg.Host()+"/app:v1")
	pull(t, s, reg.Host()+"/app:v2")
	s.Close()
	now, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Skip("the kernel does not tell which boot this is:", err)
	}
	setBoot(t, dir, layerOf(t, dir, "two"), strings.TrimSpace(string(now)))
	torn := layerOf(t, dir, "one")
	setBoot(t, dir, torn, "11111111-2222-3333-4444-555555555555")
	spoil(t, dir, torn+"/fs/etc/motd", "o\x00\x00")
	s = open(t, imagestore.Options{Root: dir})
	if len(s.List()) != 1 || s.List()[0].ID != two.Config.String() {
		t.Errorf("images %+v: want the one that was not torn", s.List())
	}
	if found, _ := os.ReadDir(filepath.Join(dir, "images/quarantine")); len(found) != 0 {
		t.Errorf("in quarantine: %q: a power cut is no damage to look into", found)
	}
	eventually(t, "settled", func() bool { return len(unsettled(t, dir)) == 0 })
	for tag, want := range map[string]string{"v1": "one", "v2": "two"} {
		root, err := s.View(pull(t, s, reg.Host()+"/app:"+tag).ID)
		if err != nil || merged(t, root, "etc/motd") != want {
			t.Errorf("%s: %q, %v", tag, merged(t, root, "etc/motd"), err)
		}
	}
}
