package layer_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"slipway/imagestore/layer"
)

// deep makes a chain of directories that no path can name.
func deep(t *testing.T, top string, depth int) {
	t.Helper()
	if err := os.MkdirAll(top, 0o700); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(top, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range depth {
		if err := unix.Mkdirat(fd, "d", 0o700); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, "d", unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
}

// fewFiles leaves so many descriptors to be opened until the test ends.
func fewFiles(t *testing.T, n uint64) {
	t.Helper()
	fd, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	few := unix.Rlimit{Cur: uint64(fd) + n, Max: was.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Error(err)
		}
	})
}

func TestRemoveDeep(t *testing.T) {
	top := filepath.Join(t.TempDir(), "top")
	deep(t, top, 5000)
	// A name that a removal in progress would use itself.
	if err := os.MkdirAll(filepath.Join(top, ".removing-1", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	fewFiles(t, 16)
	if err := layer.Remove(t.Context(), top); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(top); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if err := layer.Remove(t.Context(), top); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestRemoveWideAndImmutable(t *testing.T) {
	needRoot(t)
	top := filepath.Join(t.TempDir(), "top")
	for i := range 50 {
		d := filepath.Join(top, "d"+strconv.Itoa(i), strings.Repeat("n", 200))
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
		for j := range 40 {
			if err := os.WriteFile(filepath.Join(d, strconv.Itoa(j)), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, p := range []string{"d7/" + strings.Repeat("n", 200) + "/3", "d8/" + strings.Repeat("n", 200), "d9"} {
		f, err := os.Open(filepath.Join(top, p))
		if err != nil {
			t.Fatal(err)
		}
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0x10)
		f.Close()
		if err != nil {
			t.Skipf("the file system has no immutable files: %v", err)
		}
	}
	if err := os.RemoveAll(filepath.Join(top, "d9")); err == nil {
		t.Error("the immutable flag does nothing here")
	}
	if err := layer.Remove(t.Context(), top); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(top); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

func TestMeasure(t *testing.T) {
	top := t.TempDir()
	if err := os.WriteFile(filepath.Join(top, "a"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(top, "a"), filepath.Join(top, "b")); err != nil {
		t.Fatal(err)
	}
	deep(t, filepath.Join(top, "deep"), 1000)
	bytes, inodes, err := layer.Measure(t.Context(), top)
	if err != nil {
		t.Fatal(err)
	}
	if bytes < 1<<20 || bytes > 4<<20 || inodes < 3 {
		t.Errorf("got %d bytes in %d inodes", bytes, inodes)
	}
}
