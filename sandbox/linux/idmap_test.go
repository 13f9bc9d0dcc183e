package linux

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// newUserns makes a user namespace whose ids begin at base, and gives a
// descriptor of it.
func newUserns(t *testing.T, base int) int {
	t.Helper()
	needRoot(t)
	ids := []syscall.SysProcIDMap{{HostID: base, Size: 65536}}
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { CloseAll(fd) })
	return fd
}

func ownerIn(t *testing.T, dir int, path string) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstatat(dir, path, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		t.Fatal(err)
	}
	return st.Uid
}

// One layer, a few, more than fit into one option of fsconfig: all have the ids
// of the namespace, and a file that is changed is written down with them.
func TestOverlayMapped(t *testing.T) {
	const base = 700000
	userns := newUserns(t, base)
	before := mountTable(t)
	for _, n := range []int{1, 3, 150} {
		for _, writable := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d layers, writable %v", n, writable), func(t *testing.T) {
				dir := t.TempDir()
				var lower []string
				for i := range n {
					lower = append(lower, filepath.Join(dir, fmt.Sprint("layer", i)))
					name := filepath.Join(lower[i], fmt.Sprint("d", i))
					if err := errors.Join(os.MkdirAll(name, 0o755), os.Chown(name, i, i)); err != nil {
						t.Fatal(err)
					}
				}
				var upper, work string
				if writable {
					upper, work = filepath.Join(dir, "upper"), filepath.Join(dir, "work")
					if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755)); err != nil {
						t.Fatal(err)
					}
				}
				root, err := OverlayMapped(lower, upper, work, userns)
				if err != nil {
					t.Fatal(err)
				}
				defer unix.Close(root)
				for i := range n {
					if got := ownerIn(t, root, fmt.Sprint("d", i)); got != uint32(base+i) {
						t.Errorf("layer %d is of %d", i, got)
					}
				}
				err = unix.Fchmodat(root, "d0", 0o700, 0)
				if !writable {
					if err != unix.EROFS {
						t.Errorf("a view can be written: %v", err)
					}
					return
				}
				var st unix.Stat_t
				if err := errors.Join(err, unix.Lstat(upper+"/d0", &st)); err != nil || st.Uid != base {
					t.Errorf("what was changed is of %d in the writable layer: %v", st.Uid, err)
				}
			})
		}
	}
	if now := mountTable(t); now != before {
		t.Errorf("mounts changed:\n%s\nbefore:\n%s", now, before)
	}
}

func TestMapIDs(t *testing.T) {
	const base = 700000
	userns := newUserns(t, base)
	dir := t.TempDir()
	fd, err := OpenPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	m, err := CloneTree(fd, true)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(m)
	if err := MapIDs(m, true, userns); err != nil {
		t.Fatal(err)
	}
	if got := ownerIn(t, m, "."); got != base {
		t.Errorf("root's directory is of %d", got)
	}
	// Root has no id there; the namespace's root has.
	tree := NewTree(m)
	if _, err := tree.Find("/new", Want{Make: true}); !errors.Is(err, unix.EOVERFLOW) {
		t.Errorf("made by root: %v", err)
	}
	tree.OwnedBy(Owner{base, base})
	s, err := tree.Find("/new/below", Want{Make: true, File: true})
	if err != nil {
		t.Fatal(err)
	}
	CloseAll(s.Fd)
	var st unix.Stat_t
	if err := unix.Lstat(dir+"/new/below", &st); err != nil || st.Uid != 0 {
		t.Errorf("made by the namespace's root: of %d on disk, %v", st.Uid, err)
	}
	proc, err := Proc()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(proc)
	c, err := CloneTree(proc, false)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(c)
	if err := MapIDs(c, false, userns); !errors.Is(err, ErrNoIDMap) {
		t.Errorf("a procfs: %v", err)
	}
}
