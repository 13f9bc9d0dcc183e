package layer_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"slipway/imagestore/layer"
)

// stack unpacks layers, bottom first, and returns their trees, top first.
func stack(t testing.TB, tars ...[]byte) []string {
	t.Helper()
	var trees []string
	for _, data := range tars {
		a := newArena(t)
		if _, err := layer.NewDecoder().Unpack(t.Context(), bytes.NewReader(data), a.tree, layer.Limits{}); err != nil {
			t.Fatal(err)
		}
		trees = append([]string{a.tree}, trees...)
	}
	return trees
}

// TestReadFile reads what an overlay of the layers would show, and what it
// would hide.
func TestReadFile(t *testing.T) {
	needRoot(t)
	deep := strings.Repeat("d/", 300)
	layers := stack(t,
		archive(t, dir("etc"), file("etc/passwd", "bottom"), file("etc/group", "bottom"), file("etc/gone", "x"),
			dir("opq"), file("opq/low", "x"), dir("was"), file("was/file", "x"), file("became", "x"),
			dir("through"), dir("through/sub"), file("through/sub/f", "seen"), dir("usr"), file("usr/real", "real")),
		archive(t, file("etc/passwd", "middle"), file("etc/.wh.gone", ""), file("opq/.wh..wh..opq", ""), file("opq/high", "high"),
			file("was", "now a file"), dir("became"), file("became/f", "now a directory"),
			link("abs", "/usr/real"), link("out", "../../../../usr/real"), link("host", "/../../../secret"),
			link("loop", "loop"), link("lib", "usr"), link("usr/up", "../etc/group"),
			link("again", strings.Repeat("usr/../", 500)+"usr/real"),
			tar.Header{Name: "fifo", Typeflag: tar.TypeFifo, Mode: 0o644}, file("big", strings.Repeat("x", 101))),
		archive(t, dir("etc"), file("etc/shadow", "top"), dir("through"), dir(deep), file(deep+"f", "deep"),
			link("down", strings.TrimSuffix(deep, "/")), link(deep+"down", strings.TrimSuffix(deep, "/")),
			dir(deep+deep), link(deep+deep+"down", strings.TrimSuffix(deep, "/")),
			dir(deep+deep+deep), link(deep+deep+deep+"down", strings.TrimSuffix(deep, "/")), dir(deep+deep+deep+deep)),
	)
	cases := []struct {
		name, want string
		err        error
	}{
		{"/etc/passwd", "middle", nil},
		{"etc//./group", "bottom", nil},
		{"/etc/shadow", "top", nil},
		{"/etc/gone", "", fs.ErrNotExist},
		{"/etc/none", "", fs.ErrNotExist},
		{"/opq/high", "high", nil},
		{"/opq/low", "", fs.ErrNotExist},
		{"/was", "now a file", nil},
		{"/was/file", "", fs.ErrNotExist},
		{"/became/f", "now a directory", nil},
		{"/through/sub/f", "seen", nil},
		{"/abs", "real", nil},
		{"/out", "real", nil},
		{"/host", "", fs.ErrNotExist},
		{"/lib/real", "real", nil},
		{"/lib/up", "bottom", nil},
		{"/lib/../etc/passwd", "middle", nil},
		{"/../../etc/passwd", "middle", nil},
		{"/loop", "", layer.ErrInvalid},
		{"/fifo", "", layer.ErrInvalid},
		{"/etc", "", layer.ErrInvalid},
		{"/", "", layer.ErrInvalid},
		{"/big", "", layer.ErrLimit},
		{"/" + deep + "f", "deep", nil},
		{"/" + strings.Repeat("n", 300), "", layer.ErrInvalid},
		{"/again", "real", nil},
		{"/" + strings.Repeat("down/", 4) + "f", "", layer.ErrLimit},
	}
	for _, c := range cases {
		got, err := layer.ReadFile(layers, c.name, 100)
		if !errors.Is(err, c.err) || err == nil && string(got) != c.want {
			t.Errorf("%.40q: %q, %v; want %q, %v", c.name, got, err, c.want, c.err)
		}
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, _ := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); strings.HasPrefix(to, layers[0]) {
			t.Errorf("%s is still open", to)
		}
	}
}

// TestReadFileAsOverlay compares with the kernel.
func TestReadFileAsOverlay(t *testing.T) {
	needRoot(t)
	layers := stack(t,
		archive(t, dir("a"), file("a/1", "1"), file("a/2", "2"), dir("a/s"), file("a/s/3", "3"), dir("b"), file("b/4", "4")),
		archive(t, file("a/.wh.1", ""), file("a/5", "5"), dir("a/s"), file("a/s/.wh..wh..opq", ""), link("l", "a/s")),
		archive(t, dir("a"), dir("a/s"), file("a/s/6", "6"), file(".wh.b", ""), file("a/s/7", "7")),
	)
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		t.Skip("no overlayfs:", err)
	}
	defer unix.Close(fd)
	for _, l := range layers {
		if err := unix.FsconfigSetString(fd, "lowerdir+", l); err != nil {
			t.Skip("no overlayfs of layers one by one:", err)
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		t.Skip("no overlayfs here:", err)
	}
	mnt, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(mnt)
	for _, name := range []string{"a/1", "a/2", "a/5", "a/s/3", "a/s/6", "a/s/7", "b/4", "l/6", "l/3"} {
		got, gotErr := layer.ReadFile(layers, name, 100)
		want, wantErr := readAt(mnt, name)
		if string(got) != string(want) || errors.Is(gotErr, fs.ErrNotExist) != errors.Is(wantErr, fs.ErrNotExist) {
			t.Errorf("%s: %q, %v; the kernel: %q, %v", name, got, gotErr, want, wantErr)
		}
	}
}

func readAt(dir int, name string) ([]byte, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	b := make([]byte, 100)
	n, err := unix.Read(fd, b)
	return b[:max(n, 0)], err
}
