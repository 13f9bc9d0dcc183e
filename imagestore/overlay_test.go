package imagestore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"slipway/imagestore"
	"slipway/imagestore/registrytest"
)

// TestOverlay mounts what a Root describes, and looks at it as a container
// would.
func TestOverlay(t *testing.T) {
	reg := start(t)
	reg.Push("app", build(t, registrytest.Image{Layers: [][]file{
		{{Name: "./", Mode: 0o751}, {Name: "tmp/", Mode: 0o1777}, {Name: "d/"}, {Name: "d/old"}, {Name: "gone"}, {Name: "e/"}, {Name: "e/old"}, {Name: "f/"}, {Name: "f/old"}},
		{
			{Name: ".wh.gone"},
			{Name: "d/.wh.old"},
			{Name: "d/new"},
			{Name: "e/"},
			{Name: "e/.wh..wh..opq"},
			{Name: "e/new"},
			{Name: "tmp/x"},
			{Name: ".wh.f"},
			{Name: "f/"},
			{Name: "f/new"},
		},
	}}), "latest")
	s := open(t, imagestore.Options{})
	img := pull(t, s, reg.Host()+"/app")
	root, err := s.NewRoot(t.Context(), img.ID, "ctr")
	if err != nil {
		t.Fatal(err)
	}
	view, err := s.View(img.ID)
	if err != nil {
		t.Fatal(err)
	}
	const tree = `d 755
d/new 644
e 755
e/new 644
f 755
f/new 644
tmp 777 sticky
tmp/x 644
`
	at := t.TempDir()
	for _, c := range []struct{ options, want string }{
		{"lowerdir=" + strings.Join(root.Lower, ":") + ",upperdir=" + root.Upper + ",workdir=" + root.Work, ". 751\n" + tree},
		{"lowerdir=" + strings.Join(view.Lower, ":"), ". 755\n" + tree},
	} {
		got, err := look(at, c.options)
		if err != nil {
			t.Fatal(err)
		}
		if got != c.want {
			t.Errorf("%s\ngot:\n%s\nwant:\n%s", c.options, got, c.want)
		}
	}
}

// look mounts an overlay in a mount namespace of its own, which ends with the
// thread that made it.
func look(at, options string) (string, error) {
	type result struct {
		tree string
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is not fit for others
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount("overlay", at, "overlay", 0, options)
		}
		var b strings.Builder
		if err == nil {
			err = filepath.WalkDir(at, func(p string, _ fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				fi, err := os.Lstat(p)
				if err != nil {
					return err
				}
				rel, _ := filepath.Rel(at, p)
				fmt.Fprintf(&b, "%s %o", rel, fi.Mode().Perm())
				if fi.Mode()&fs.ModeSticky != 0 {
					b.WriteString(" sticky")
				}
				b.WriteByte('\n')
				return nil
			})
			err = errors.Join(err, unix.Unmount(at, unix.MNT_DETACH))
		}
		done <- result{b.String(), err}
	}()
	r := <-done
	return r.tree, r.err
}
