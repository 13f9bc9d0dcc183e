package program

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestViewRead(t *testing.T) {
	root := image(t)
	low := root.Lower[0]
	os.WriteFile(low+"/etc/passwd", []byte("root:x:0:0::/root:/bin/sh\n"), 0o600)
	os.WriteFile(root.Upper+"/upper", []byte("written"), 0o600)
	os.WriteFile(root.Lower[1]+"/under", []byte("below"), 0o600)
	os.Symlink("../../../../etc/passwd", low+"/etc/inside")
	os.Symlink("/proc/self/environ", low+"/etc/environ")
	os.Symlink("/etc/hostname", low+"/etc/outside")
	os.Symlink("loop", low+"/etc/loop")
	unix.Mkfifo(low+"/etc/fifo", 0o600)
	unix.Mknod(low+"/etc/zero", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5)))
	f, _ := os.Create(low + "/etc/huge")
	f.Truncate(2 << 30)
	f.Close()
	for _, tt := range []struct {
		path, want string
		err        error
	}{
		{"/etc/passwd", "root:x:0:0::/root:/bin/sh\n", nil},
		{"/etc/inside", "root:x:0:0::/root:/bin/sh\n", nil},
		{"/../../etc/passwd", "root:x:0:0::/root:/bin/sh\n", nil},
		{"/upper", "written", nil},
		{"/under", "below", nil},
		{"/etc/none", "", fs.ErrNotExist},
		{"/etc/passwd/none", "", fs.ErrNotExist},
		{"/etc/environ", "", fs.ErrNotExist},
		{"/etc/outside", "", fs.ErrNotExist},
		{"/etc/loop", "", unix.ELOOP},
		{"/etc/fifo", "", ErrInvalid},
		{"/etc/zero", "", ErrInvalid},
		{"/etc/huge", "", ErrInvalid},
		{"/etc", "", ErrInvalid},
	} {
		b, err := readOnce(root, tt.path, 1<<20)
		if string(b) != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: %q %v", tt.path, b, err)
		}
	}
	one := Root{Lower: root.Lower[1:]}
	if b, err := readOnce(one, "/under", 10); string(b) != "below" || err != nil {
		t.Errorf("one layer: %q %v", b, err)
	}
}

func TestCopyUp(t *testing.T) {
	root := image(t)
	low := root.Lower[0]
	os.MkdirAll(low+"/vol/deep/er", 0o755)
	os.WriteFile(low+"/vol/deep/f", []byte("data"), 0o640)
	os.Chown(low+"/vol/deep/f", 12, 34)
	unix.Chmod(low+"/vol/deep/f", 0o4755)
	unix.Setxattr(low+"/vol/deep/f", "user.x", []byte("attr"), 0)
	os.Symlink("/etc/shadow", low+"/vol/link")
	unix.Chmod(low+"/vol", 0o1777)
	os.Chown(low+"/vol", 7, 8)
	os.Symlink("vol", low+"/to-vol")
	os.Symlink("../../../../../../../usr/share", low+"/out")
	dst := t.TempDir()
	if err := CopyUp(t.Context(), root, "/to-vol", dst); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	unix.Stat(dst+"/deep/f", &st)
	if b, _ := os.ReadFile(dst + "/deep/f"); string(b) != "data" || st.Uid != 12 || st.Gid != 34 || st.Mode&0o7777 != 0o4755 {
		t.Errorf("%q %d:%d %o", b, st.Uid, st.Gid, st.Mode)
	}
	if unix.Stat(dst, &st); st.Mode&0o7777 != 0o1777 || st.Uid != 7 || st.Gid != 8 {
		t.Errorf("%o %d:%d", st.Mode, st.Uid, st.Gid)
	}
	x := make([]byte, 10)
	if n, err := unix.Getxattr(dst+"/deep/f", "user.x", x); err != nil || string(x[:n]) != "attr" {
		t.Errorf("%v", err)
	}
	if l, _ := os.Readlink(dst + "/link"); l != "/etc/shadow" {
		t.Error(l)
	}
	for _, p := range []string{"/none", "/bin/probe", "/out", "/../../../usr/share"} {
		empty := t.TempDir()
		if err := CopyUp(t.Context(), root, p, empty); err != nil {
			t.Errorf("%s: %v", p, err)
		}
		if es, _ := os.ReadDir(empty); len(es) != 0 {
			t.Errorf("%s: %v", p, es)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := CopyUp(ctx, root, "/vol", t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func readOnce(r Root, path string, limit int64) ([]byte, error) {
	v, err := OpenView(r)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	return v.Read(path, limit)
}

func TestViewHas(t *testing.T) {
	root := image(t)
	low := root.Lower[0]
	os.Symlink("../../../../usr/etc", low+"/etc/inside")
	os.Symlink("/proc/self", low+"/etc/outside")
	os.Symlink("loop", low+"/etc/loop")
	os.WriteFile(low+"/etc/file", nil, 0o600)
	v, err := OpenView(root)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for path, want := range map[string]error{
		"etc": nil, "etc/file": nil, "/etc/inside": nil, "etc/outside": fs.ErrNotExist, "none": fs.ErrNotExist,
		"etc/file/below": fs.ErrNotExist, "etc/loop": unix.ELOOP, "../../../../../../work": fs.ErrNotExist,
	} {
		if err := v.Has(path); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}
