package linux

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func mountTable(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// privateThreads counts the threads that are in another mount namespace than
// the main thread.
func privateThreads(t *testing.T) int {
	t.Helper()
	main, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, task := range tasks {
		ns, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/mnt")
		if err == nil && ns != main { // an error: the thread has just ended
			n++
		}
	}
	return n
}

// Nothing of what is done aside is seen by anybody else, and no copy of the
// mount table stays: it would hold every volume of the host.
func TestAside(t *testing.T) {
	needRoot(t)
	before := mountTable(t)
	main, err := os.Readlink("/proc/thread-self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for range 20 {
		_, err := Aside(func() (int, error) {
			if ns, _ := os.Readlink("/proc/thread-self/ns/mnt"); ns == main {
				t.Error("in the caller's namespace")
			}
			if unix.Gettid() == unix.Getpid() {
				t.Error("on the main thread")
			}
			return -1, unix.Mount("tmpfs", dir, "tmpfs", 0, "")
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if now := mountTable(t); now != before {
		t.Errorf("mounts changed:\n%s\nbefore:\n%s", now, before)
	}
	for end := time.Now().Add(30 * time.Second); privateThreads(t) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d threads stay in mount namespaces of their own", privateThreads(t))
		}
	}
	wrong := errors.New("wrong")
	if _, err := Aside(func() (int, error) { return -1, wrong }); !errors.Is(err, wrong) {
		t.Error(err)
	}
}

func TestClonePart(t *testing.T) {
	needRoot(t)
	before := mountTable(t)
	root, err := NewFS("tmpfs", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(root)
	unix.Mkdirat(root, "part", 0o755)
	fd, err := unix.Openat(root, "part/f", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	part, err := unix.Openat(root, "part", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(part)
	c, err := ClonePart(root, part)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(c)
	if _, err := ReadIn(c, "f", 10); err != nil {
		t.Error(err)
	}
	if _, err := ReadIn(c, "../part/f", 10); err == nil {
		t.Error("the whole is seen")
	}
	if err := SetAttr(c, false, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		t.Error("the part is not a mount of its own:", err)
	}
	if now := mountTable(t); now != before {
		t.Errorf("mounts changed:\n%s\nbefore:\n%s", now, before)
	}
}
