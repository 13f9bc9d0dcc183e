package blob_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"golang.org/x/sys/unix"

	"slipway/imagestore/blob"
)

func TestStore(t *testing.T) {
	dir := t.TempDir()
	s, err := blob.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	data := []byte("hello")
	for _, d := range []digest.Digest{digest.SHA256.FromBytes(data), digest.SHA512.FromBytes(data)} {
		if _, err := s.Get(d, 100); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("get before: %v", err)
		}
		for range 2 {
			if err := s.Put(d, data); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := s.Get(d, 5); err != nil || string(got) != "hello" {
			t.Errorf("got %q, %v", got, err)
		}
		if _, err := s.Get(d, 4); err == nil {
			t.Error("more than the limit was read")
		}
		if fi, err := os.Stat(s.Path(d)); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", fi.Mode(), err)
		}
		if err := s.Put(d, []byte("other")); !errors.Is(err, blob.ErrCorrupt) {
			t.Errorf("put of other bytes: %v", err)
		}
		if err := os.WriteFile(s.Path(d), []byte("hellp"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(d, 100); !errors.Is(err, blob.ErrCorrupt) {
			t.Errorf("get of spoiled bytes: %v", err)
		}
		if err := s.Put(d, data); err != nil {
			t.Errorf("put does not repair: %v", err)
		}
	}
	if all, err := s.List(); err != nil || len(all) != 2 {
		t.Errorf("list %v, %v", all, err)
	}
	d := digest.FromBytes(data)
	for range 2 {
		if err := s.Remove(d); err != nil {
			t.Error(err)
		}
	}
	tmp := filepath.Join(dir, "sha256", blob.TmpPrefix+"1")
	if err := os.WriteFile(tmp, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := blob.Open(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tmp); !errors.Is(err, fs.ErrNotExist) {
		t.Error("left-over of a crash is still there")
	}
}

func TestCheck(t *testing.T) {
	for _, d := range []digest.Digest{
		"", "sha256:", "sha256:../../x", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha384:" + digest.Digest(strings.Repeat("0", 96)),
		"sha256:" + digest.Digest(strings.Repeat("A", 64)), "sha256:" + digest.Digest(strings.Repeat("0", 63)),
	} {
		if blob.Check(d) == nil {
			t.Errorf("%q was accepted", d)
		}
	}
}

func TestWriteFileLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := blob.WriteFile(filepath.Join(dir, "taken"), []byte("x")); err == nil {
		t.Fatal("a directory was replaced")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left %v", entries)
	}
}

func TestSpread(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		if err := blob.Spread(dir); err != nil {
			t.Fatal(err)
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	if st.Type != unix.EXT4_SUPER_MAGIC {
		return // the mark is ext4's; anywhere else it is enough that nothing failed
	}
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	flags, err := unix.IoctlGetInt(int(d.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil || flags&0x20000 == 0 {
		t.Errorf("flags %#x, %v: not marked as the top of hierarchies", flags, err)
	}
}
