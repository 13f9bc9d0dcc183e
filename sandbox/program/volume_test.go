package program

import (
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// mountLine is what a process sees of the mount at a path.
func mountLine(t *testing.T, mounts, path string) string {
	t.Helper()
	for line := range strings.Lines(mounts) {
		if f := strings.Fields(line); len(f) > 5 && f[4] == path {
			return f[5]
		}
	}
	t.Fatalf("no mount at %s in\n%s", path, mounts)
	return ""
}

// A volume is mounted with the options of the spec, what lies below it as the
// recursive ones say.
func TestVolumeOptions(t *testing.T) {
	root := image(t)
	dir := t.TempDir()
	for _, at := range []string{dir, dir + "/sub"} { // both with relatime, whatever the host's own have
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("volume", at, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	}
	spec := testSpec("mounts", "create=/ro/sub/x", "create=/rro/sub/x", "create=/rro/x")
	for dest, options := range map[string][]string{
		"/plain":  nil,
		"/top":    {"noexec", "nosuid", "nodev", "noatime", "nosymfollow"},
		"/deep":   {"rnoexec", "rnosuid"},
		"/strict": {"strictatime", "nodiratime"},
		"/ro":     {"ro"},
		"/rro":    {"ro", "rro"},
	} {
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: dest, Type: "bind", Source: dir, Options: append(options, "rbind", "rprivate")})
	}
	out, err := runContainer(t, &Container{Spec: spec, Root: root, PidInit: -1, Cgroup: noCgroup()})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/plain": "rw,relatime", "/plain/sub": "rw,relatime",
		"/top": "rw,nosuid,nodev,noexec,noatime,nosymfollow", "/top/sub": "rw,relatime",
		"/deep": "rw,nosuid,noexec,relatime", "/deep/sub": "rw,nosuid,noexec,relatime",
		"/strict": "rw,nodiratime",
		"/ro":     "ro,relatime", "/ro/sub": "rw,relatime", "/rro": "ro,relatime", "/rro/sub": "ro,relatime",
	} {
		if got := mountLine(t, out, path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	hasAll(t, out, "create /ro/sub/x: <nil>", "create /rro/sub/x: read-only file system", "create /rro/x: read-only file system")
}

// What an image says about its sub-paths leads nowhere but into the image.
func TestImageSubPathStaysInside(t *testing.T) {
	root := image(t)
	low := t.TempDir()
	for _, d := range []string{"/etc/deep", "/proc", "/a"} {
		if err := os.MkdirAll(low+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(low+"/etc/hostname", []byte("the image's"), 0o644); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{
		"/a/absolute": "/etc", "/a/up": "../../../../../../../../etc", "/a/dotted": "./../a/absolute/deep/..", "/a/proc": "/proc/self/root/etc", "/a/file": "/etc/hostname",
	} {
		if err := os.Symlink(target, low+link); err != nil {
			t.Fatal(err)
		}
	}
	img := &Root{Lower: []string{low, t.TempDir()}}
	for sub, want := range map[string]string{
		"a/absolute": "/hostname", "a/up": "/hostname", "a/dotted": "/hostname", "a/file": "", "../../../etc": "/hostname", "a/proc": "missing", "none": "missing",
	} {
		dest := "/v"
		if want == "" { // a file
			dest = "/file"
		}
		c := &Container{Spec: testSpec("cat=" + dest + want), Root: root, PidInit: -1, Cgroup: noCgroup()}
		c.Volumes = []Volume{{Destination: dest, Image: img, ImagePath: sub, Readonly: true}}
		out, err := runContainer(t, c)
		switch {
		case want == "missing":
			if err == nil {
				t.Errorf("%s: mounted: %s", sub, out)
			}
		case err != nil || !strings.Contains(out, `"the image's" <nil>`):
			t.Errorf("%s: %v %s", sub, err, out)
		}
	}
}
