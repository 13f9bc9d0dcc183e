package linux

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func open(t *testing.T, path string) int {
	t.Helper()
	fd, err := OpenPath(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// where gives the path on the host of a descriptor, relative to dir.
func where(t *testing.T, dir string, fd int) string {
	t.Helper()
	p, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		t.Fatal(err)
	}
	rel, err := filepath.Rel(dir, p)
	if err != nil {
		t.Fatal(err)
	}
	return rel
}

func TestTreeFind(t *testing.T) {
	dir := t.TempDir()
	root := dir + "/root"
	for _, d := range []string{"root/usr/etc", "root/var", "volume/in", "root/data", "root/proc"} {
		os.MkdirAll(filepath.Join(dir, d), 0o755)
	}
	for from, to := range map[string]string{
		"etc": "/usr/etc", "var/run": "/run", "escape": "../../../../out", "loop": "loop", "self": ".", "up": "data/../data/..",
		"chain": "chain2", "chain2": "/escape/x", "toproc": "/proc",
	} {
		os.Symlink(to, filepath.Join(root, from))
	}
	os.WriteFile(root+"/file", nil, 0o644)
	tree := NewTree(open(t, root))
	data, err := tree.Find("/data", Want{})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(data.Fd)
	if err := tree.Cover(data.Fd, open(t, dir+"/volume")); err != nil {
		t.Fatal(err)
	}
	proc, err := tree.Find("/proc", Want{})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(proc.Fd)
	if err := tree.Reserve(proc.Fd, "proc"); err != nil {
		t.Fatal(err)
	}
	make := Want{Make: true}
	for _, tt := range []struct {
		path string
		want Want
		is   string
		err  error
	}{
		{"/etc", Want{}, "root/usr/etc", nil},
		{"/etc", Want{Strict: true}, "", ErrSymlink},
		{"/var/run/x", make, "root/run/x", nil},
		{"/var/run/y", Want{}, "", unix.ENOENT},
		{"/escape/v", make, "root/out/v", nil},
		{"/chain", make, "root/out/x", nil},
		{"/../../..", Want{}, "root", nil},
		{"/loop", make, "", unix.ELOOP},
		{"/self/self/file", Want{File: true}, "root/file", nil},
		{"/file", Want{}, "", ErrKind},
		{"/file/x", make, "", unix.ENOTDIR},
		{"/usr", Want{File: true}, "", ErrKind},
		{"/file", Want{Any: true}, "root/file", nil},
		{"/data/in", Want{}, "volume/in", nil},
		{"/data/new/dir", make, "volume/new/dir", nil},
		{"/data/../usr", Want{}, "root/usr", nil},
		{"/data/in/../../usr", Want{}, "root/usr", nil},
		{"/up", Want{}, "root", nil},
		{"/data/f", Want{File: true, Make: true}, "volume/f", nil},
		{"./usr//./etc/", Want{}, "root/usr/etc", nil},
	} {
		s, err := tree.Find(tt.path, tt.want)
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, want %v", tt.path, err, tt.err)
			continue
		}
		if err == nil {
			if got := where(t, dir, s.Fd); got != tt.is {
				t.Errorf("%s is %s, want %s", tt.path, got, tt.is)
			}
			unix.Close(s.Fd)
		}
	}
	for path, rest := range map[string]string{"/proc/self/attr": "self/attr", "/toproc/x": "x"} {
		if s, err := tree.Find(path, make); err != nil || s.Fd != -1 || s.Kernel != "proc" || s.Rest != rest {
			t.Errorf("%s: %+v %v", path, s, err)
		}
	}
	if es, _ := os.ReadDir(dir); len(es) != 2 {
		t.Errorf("beside the root: %v", es)
	}
	if es, _ := os.ReadDir(root + "/proc"); len(es) != 0 {
		t.Errorf("below the reserved place: %v", es)
	}
}

// Another process swaps the target with a symlink all the time: nothing outside
// is made or found.
func TestTreeFindRaced(t *testing.T) {
	dir := t.TempDir()
	os.MkdirAll(dir+"/root/a", 0o755)
	os.MkdirAll(dir+"/outside", 0o755)
	os.Symlink("../../../outside", dir+"/root/b")
	stop, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, dir+"/root/a", unix.AT_FDCWD, dir+"/root/b", unix.RENAME_EXCHANGE)
			}
		}
	}()
	tree := NewTree(open(t, dir+"/root"))
	for range 2000 {
		if s, err := tree.Find("/a/x/y", Want{Make: true}); err == nil {
			unix.Close(s.Fd)
		}
	}
	close(stop)
	<-done
	if es, _ := os.ReadDir(dir + "/outside"); len(es) != 0 {
		t.Errorf("outside: %v", es)
	}
}

func TestOverlay(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	var lower []string
	for i := range 70 {
		d := filepath.Join(dir, "layer:with,odd\\name", strconv.Itoa(i))
		os.MkdirAll(d, 0o755)
		os.WriteFile(d+"/top", []byte(strconv.Itoa(i)), 0o644)
		os.WriteFile(d+"/"+strconv.Itoa(i), nil, 0o644)
		lower = append(lower, d)
	}
	os.MkdirAll(dir+"/u", 0o755)
	os.MkdirAll(dir+"/w", 0o755)
	check := func(how string, fd int, err error, n int) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", how, err)
			return
		}
		defer unix.Close(fd)
		if b, err := ReadIn(fd, "top", 10); string(b) != "0" || err != nil {
			t.Errorf("%s: %q %v", how, b, err)
		}
		if _, err := ReadIn(fd, strconv.Itoa(n-1), 10); err != nil {
			t.Errorf("%s: the last layer: %v", how, err)
		}
	}
	fd, err := Overlay(lower, dir+"/u", dir+"/w")
	check("many", fd, err, 70)
	fd, err = Overlay(lower[:1], "", "")
	check("one", fd, err, 1)
	if _, err := Overlay(nil, "", ""); !errors.Is(err, ErrLayers) {
		t.Error(err)
	}
	if _, err := Overlay([]string{dir + "/none", dir}, "", ""); !errors.Is(err, unix.ENOENT) {
		t.Error(err)
	}
	layers, err := openLayers(lower[:40], dir+"/u", dir+"/w")
	if err != nil {
		t.Fatal(err)
	}
	defer CloseAll(layers...)
	fd, err = overlayByList(layers, 40) // as older kernels need it
	check("by list", fd, err, 40)
	if _, err := overlayByList(slices.Repeat(layers, 3), 120); !errors.Is(err, ErrLayers) {
		t.Error(err)
	}
	table := mountTable(t)
	fd, err = overlayByMount(lower, dir+"/u", dir+"/w")
	check("by mount", fd, err, 70)
	if now := mountTable(t); now != table {
		t.Errorf("mounts changed:\n%s\nbefore:\n%s", now, table)
	}
}

// A container can lay anything over its ptmx; the terminal does not come from there.
func TestOpenTerminal(t *testing.T) {
	needRoot(t)
	devpts, err := NewFS("devpts", 0, Option{"newinstance", ""}, Option{"ptmxmode", "0666"})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(devpts)
	m, s, err := OpenTerminal(devpts)
	if err != nil {
		t.Fatal(err)
	}
	defer CloseAll(m, s)
	if err := SetTerminal(m, s, 24, 80, 1000); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(s, &st); err != nil || st.Uid != 1000 || unix.Major(st.Rdev) != 136 {
		t.Errorf("%+v %v", st, err)
	}
	fake, err := NewFS("tmpfs", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fake)
	unix.Mknodat(fake, "ptmx", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
	if _, _, err := OpenTerminal(fake); !errors.Is(err, ErrNotTerminal) {
		t.Error(err)
	}
	unix.Unlinkat(fake, "ptmx", 0)
	unix.Symlinkat("/dev/ptmx", fake, "ptmx")
	if _, _, err := OpenTerminal(fake); err == nil {
		t.Error("a symlink was followed")
	}
}

func TestSealedMemfd(t *testing.T) {
	fd, err := SealedMemfd("x", []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Pwrite(fd, []byte("y"), 0); err != unix.EPERM {
		t.Error(err)
	}
	if err := unix.Ftruncate(fd, 0); err != unix.EPERM {
		t.Error(err)
	}
}

func TestCaps(t *testing.T) {
	s, err := ParseCaps([]string{"CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"})
	if err != nil || s != 1|1<<21|1<<40 || len(s.Names()) != 3 || s.Names()[1] != "CAP_SYS_ADMIN" {
		t.Error(s, err)
	}
	if _, err := ParseCaps([]string{"CAP_X"}); !errors.Is(err, ErrCapability) {
		t.Error(err)
	}
	if LastCap() < 36 {
		t.Error(LastCap())
	}
}

func TestProbe(t *testing.T) {
	needRoot(t)
	for _, f := range Probe() {
		t.Log(f.Name, f.Err)
		if f.Needed && f.Err != nil {
			t.Errorf("%s: %v", f.Name, f.Err)
		}
	}
}
