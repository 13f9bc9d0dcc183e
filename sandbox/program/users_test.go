package program

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
	"slipway/sandbox/program/runner"
)

var allCaps = func() []string {
	var all linux.CapSet = 1<<41 - 1
	return all.Names()
}()

func idMaps(host uint32) []specs.LinuxIDMapping {
	return []specs.LinuxIDMapping{{ContainerID: 0, HostID: host, Size: 65536}}
}

// userPod makes the namespaces of a pod with a user namespace.
func userPod(t *testing.T, host uint32) map[specs.LinuxNamespaceType]int {
	t.Helper()
	needRoot(t)
	b := &Pod{Net: true, IPC: true, UTS: true, User: true, UIDs: idMaps(host), GIDs: idMaps(host), Hostname: "pod"}
	p, err := b.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c, err := start(t, p)
	if err != nil {
		t.Fatal(err)
	}
	join := map[specs.LinuxNamespaceType]int{}
	for i, kind := range b.Offers() {
		join[kind] = c.Offered[i]
	}
	t.Cleanup(func() { linux.CloseAll(c.Offered...) })
	return join
}

// userContainer is a container in such a pod with every capability in there.
func userContainer(t *testing.T, host uint32, join map[specs.LinuxNamespaceType]int, args ...string) *Container {
	t.Helper()
	return userContainerOn(image(t), host, join, args...)
}

func userContainerOn(root Root, host uint32, join map[specs.LinuxNamespaceType]int, args ...string) *Container {
	c := &Container{Spec: testSpec(args...), Root: root, PidInit: -1, Cgroup: noCgroup(), Join: join}
	for i, n := range c.Spec.Linux.Namespaces {
		if n.Type == "net" || n.Type == "network" || n.Type == "ipc" || n.Type == "uts" {
			c.Spec.Linux.Namespaces[i].Path = "the pod's"
		}
	}
	c.Spec.Linux.Namespaces = append(c.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: "the pod's"})
	c.Spec.Linux.UIDMappings, c.Spec.Linux.GIDMappings = idMaps(host), idMaps(host)
	c.Spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: allCaps, Effective: allCaps, Permitted: allCaps}
	return c
}

// A container in a user namespace is root of its own files, inside, and of
// nothing outside.
func TestUserNamespaceIdentity(t *testing.T) {
	const base = 200000
	join := userPod(t, base)
	c := userContainer(t, base, join, "facts", "cat=/proc/self/uid_map", "stat=/bin/probe", "stat=/", "stat=/dev/null",
		"stat=/dev", "stat=/dev/pts", "stat=/etc/mtab", "create=/made", "create=/etc/made", "stat=/proc/1", "create=/data/made", "stat=/plain",
		"mknod=/null", "create=/dev/made", "ls=/dev/mqueue", "cat=/sys/class/net/lo/ifindex", "stat=/cwd/made", "stat=/data/inner")
	data := t.TempDir()
	plain := t.TempDir()
	if err := os.WriteFile(data+"/old", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.Spec.Process.Cwd = "/cwd/made"
	c.Spec.Mounts = append(c.Spec.Mounts,
		specs.Mount{Destination: "/data", Type: "bind", Source: data, Options: []string{"rbind"}, UIDMappings: idMaps(base), GIDMappings: idMaps(base)},
		specs.Mount{Destination: "/data/inner", Type: "tmpfs", Options: []string{"uid=7", "mode=700"}},
		specs.Mount{Destination: "/plain", Type: "bind", Source: plain, Options: []string{"rbind"}})
	out, err := runContainer(t, c)
	if err != nil {
		t.Fatal(err)
	}
	hasAll(t, out, "Uid=0 0 0 0", "CapEff=000001ffffffffff", "0     200000      65536", "pid=1 leader=true", "fds=0 1 2\n", "host=pod",
		"stat /bin/probe: 100755 0:0 0:0 <nil>", "stat /: 40755 0:0 0:0 <nil>", "stat /dev/null: 20666 1:3 0:0 <nil>",
		"create /made: <nil>", "create /etc/made: <nil>", "create /data/made: <nil>", "stat /plain: 40755 0:0 65534:65534 <nil>",
		"mknod /null: operation not permitted", "create /dev/made: <nil>", "ls /dev/mqueue: [] <nil>", "cat /sys/class/net/lo/ifindex: \"1\\n\"",
		"stat /cwd/made: 40755 0:0 0:0", "stat /data/inner: 40700 0:0 7:0")
	for path, want := range map[string]uint32{c.Root.Upper + "/made": base, c.Root.Upper + "/etc/made": base, data + "/made": 0, data + "/inner": 0} {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil || st.Uid != want || st.Gid != want {
			t.Errorf("%s is of %d:%d, want %d: %v", path, st.Uid, st.Gid, want, err)
		}
	}
}

// All capabilities of a user namespace do not give back what a mount denies, and
// take no mount off what it covers.
func TestUserNamespaceLocksMounts(t *testing.T) {
	const base = 200000
	ro := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(ro+"/f", nil, 0o666))
	must(os.Chmod(ro+"/f", 0o666))
	must(os.Chmod(ro, 0o777))
	var args []string
	for _, verb := range []string{"remount", "reconfigure", "setattr", "umount", "move"} {
		for _, path := range []string{"/ro", "/proc/sys", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/sys", "/proc", "/dev"} {
			args = append(args, verb+"="+path)
		}
	}
	attacks := len(args)
	tail := []string{"bind=/proc", "bind=/ro/..", "fresh=proc", "fresh=sysfs", "write=/ro/f", "create=/ro/new", "write=/proc/sys/kernel/hostname", "cat=/proc/keys", "ls=/sys/firmware"}
	args = append(args, tail...)
	args = append(args, "unshare")
	args = append(args, args[:attacks]...)
	args = append(args, tail...)
	c := userContainer(t, base, userPod(t, base), args...)
	c.Spec.Mounts = append(c.Spec.Mounts, specs.Mount{
		Destination: "/ro", Type: "bind", Source: ro, Options: []string{"rbind", "ro"}, UIDMappings: idMaps(base), GIDMappings: idMaps(base),
	})
	out, err := runContainer(t, c)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		what, result, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch {
		case what == "unshare", strings.HasPrefix(what, "cat "), strings.HasPrefix(what, "ls "):
			if result != "<nil>" && result != `"" <nil>` && result != "[] <nil>" {
				t.Errorf("%s: %s", what, result)
			}
		case what == "setattr /proc/keys", what == "setattr /proc/timer_list", // read-only nowhere
			what == "setattr /dev", what == "remount /dev",
			what == "setattr /proc", what == "remount /proc":
		case result == "<nil>":
			t.Errorf("it can %s", what)
		}
	}
	for _, p := range []string{"umount /ro: ", "remount /ro: operation not permitted", "setattr /ro: operation not permitted"} {
		if strings.Count(out, p) != 2 {
			t.Errorf("%d times %q in\n%s", strings.Count(out, p), p, out)
		}
	}
	if b, err := os.ReadFile(ro + "/f"); err != nil || len(b) > 0 {
		t.Errorf("written: %q, %v", b, err)
	}
}

// The root itself, when it is read-only.
func TestUserNamespaceLocksRoot(t *testing.T) {
	c := userContainer(t, 200000, userPod(t, 200000), "remount=/", "reconfigure=/", "setattr=/", "unshare", "remount=/", "setattr=/", "create=/x", "umount=/")
	c.Root.Readonly = true
	out, err := runContainer(t, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"remount /: operation not permitted", "setattr /: operation not permitted"} {
		if strings.Count(out, p) != 2 {
			t.Errorf("%d times %q in\n%s", strings.Count(out, p), p, out)
		}
	}
	hasAll(t, out, "reconfigure /: operation not permitted", "create /x: read-only file system", "umount /: invalid argument")
}

// What the host mounts in a volume comes in; nothing goes out.
func TestUserNamespacePropagation(t *testing.T) {
	const base = 200000
	join := userPod(t, base)
	dir := t.TempDir()
	if err := unix.Mount("shared", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	if err := errors.Join(unix.Mount("", dir, "", unix.MS_SHARED, ""), os.Mkdir(dir+"/sub", 0o755), os.Mkdir(dir+"/own", 0o777)); err != nil {
		t.Fatal(err)
	}
	c := userContainer(t, base, join)
	c.Volumes = []Volume{{Destination: "/v", Source: dir, Propagation: "rslave"}}
	init := waiting(t, c)
	if err := unix.Mount("late", dir+"/sub", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/sub/late", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	spec := testSpec("ls=/v/sub", "bind=/v/own")
	spec.Process.Capabilities = c.Spec.Process.Capabilities
	hasAll(t, execIn(t, &Exec{Process: spec.Process, Spec: c.Spec, Init: init.Pidfd}), "ls /v/sub: [late] <nil>")
}

func TestUserNamespaceRefusals(t *testing.T) {
	needRoot(t)
	const base = 200000
	join := userPod(t, base)
	for name, change := range map[string]func(c *Container){
		"not passed":    func(c *Container) { delete(c.Join, specs.UserNamespace) },
		"no maps":       func(c *Container) { c.Spec.Linux.UIDMappings = nil },
		"shared volume": func(c *Container) { c.Volumes = []Volume{{Destination: "/v", Source: "/", Propagation: "rshared"}} },
		"shared root":   func(c *Container) { c.Spec.Linux.RootfsPropagation = "rshared" },
		"unknown id map": func(c *Container) {
			c.Spec.Mounts = append(c.Spec.Mounts, specs.Mount{Destination: "/v", Type: "bind", Source: "/tmp", UIDMappings: idMaps(5)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := userContainer(t, base, map[specs.LinuxNamespaceType]int{}, "facts")
			for k, v := range join {
				c.Join[k] = v
			}
			change(c)
			if _, err := runContainer(t, c); !errors.Is(err, ErrInvalid) {
				t.Errorf("%v", err)
			}
		})
	}
	c := userContainer(t, base, join, "facts")
	c.Volumes = []Volume{{Destination: "/v", Source: "/proc", Mapped: true, Userns: join[specs.UserNamespace]}}
	if _, err := runContainer(t, c); !errors.Is(err, linux.ErrNoIDMap) {
		t.Errorf("a volume that cannot be mapped: %v", err)
	}
}

// An image is seen with its own ids, whatever the kernel makes of one layer or
// of several.
func TestUserNamespaceImageVolume(t *testing.T) {
	const base = 300000
	c := userContainer(t, base, userPod(t, base), "stat=/one/etc", "stat=/two/etc", "stat=/part", "create=/one/x", "remount=/one", "setattr=/two")
	dir := t.TempDir()
	for _, l := range []string{"a/etc", "b/etc"} {
		if err := os.MkdirAll(dir+"/"+l, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir+"/"+l, 12, 13); err != nil {
			t.Fatal(err)
		}
	}
	userns := c.Join[specs.UserNamespace]
	one, two := &Root{Lower: []string{dir + "/a"}}, &Root{Lower: []string{dir + "/a", dir + "/b"}}
	c.Volumes = []Volume{
		{Destination: "/one", Image: one, Readonly: true, Mapped: true, Userns: userns},
		{Destination: "/two", Image: two, Readonly: true, Mapped: true, Userns: userns},
		{Destination: "/part", Image: two, ImagePath: "etc", Readonly: true, Mapped: true, Userns: userns},
	}
	out, err := runContainer(t, c)
	if err != nil {
		t.Fatal(err)
	}
	hasAll(t, out, "stat /one/etc: 40755 0:0 12:13", "stat /two/etc: 40755 0:0 12:13", "stat /part: 40755 0:0 12:13",
		"create /one/x: read-only file system", "remount /one: operation not permitted", "setattr /two: operation not permitted")
}

// execIn runs a command in a container.
func execIn(t *testing.T, e *Exec) string {
	t.Helper()
	o := newOutput(t)
	e.Cgroup, e.Stdio, e.Devpts = noCgroup(), o.stdio(), -1
	p, err := e.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ch, err := start(t, p)
	if err != nil {
		t.Fatal(err)
	}
	text := o.all(t)
	wait(t, ch)
	return text
}

func TestUserNamespaceExec(t *testing.T) {
	const base = 400000
	c := userContainer(t, base, userPod(t, base))
	init := waiting(t, c)
	spec := testSpec("facts", "cat=/proc/self/uid_map", "create=/by-exec", "umount=/proc/keys", "cat=/proc/keys", "link=/proc/1/ns/user")
	spec.Process.Capabilities = c.Spec.Process.Capabilities
	out := execIn(t, &Exec{Process: spec.Process, Spec: c.Spec, Init: init.Pidfd, NoFile: &[2]uint64{4096, 4096}})
	hasAll(t, out, "Uid=0 0 0 0", "CapEff=000001ffffffffff", "0     400000      65536", "fds=0 1 2\n", "host=pod", "create /by-exec: <nil>",
		"umount /proc/keys: invalid argument", `cat /proc/keys: "" <nil>`, "Max open files 4096 4096")
	spec.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{7}}
	spec.Process.Capabilities = nil
	out = execIn(t, &Exec{Process: spec.Process, Spec: c.Spec, Init: init.Pidfd, Filter: allow})
	hasAll(t, out, "Uid=1000 1000 1000 1000", "Gid=1001 1001 1001 1001", "Groups=7", "CapEff=0000000000000000", "Seccomp=2")
	var st unix.Stat_t
	if err := unix.Lstat(c.Root.Upper+"/by-exec", &st); err != nil || st.Uid != base {
		t.Errorf("made by exec: of %d, %v", st.Uid, err)
	}
}

// The PID namespace of the pod, of another container, and the host's.
func TestUserNamespaceSharedPID(t *testing.T) {
	const base = 500000
	join := userPod(t, base)
	prog, err := (&Reaper{Join: join, Cgroup: noCgroup()}).Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	reaper, err := start(t, prog)
	if err != nil {
		t.Fatal(err)
	}
	end(t, reaper)
	target := waiting(t, userContainer(t, base, join))
	for name, change := range map[string]func(c *Container){
		"pod":    func(c *Container) { c.PidInit = reaper.Pidfd },
		"target": func(c *Container) { c.PidInit, c.PidInitLocked = target.Pidfd, true },
		"host":   func(c *Container) { c.Spec.Linux.Namespaces = without(c.Spec.Linux.Namespaces, "pid") },
	} {
		t.Run(name, func(t *testing.T) {
			c := userContainer(t, base, join, "facts", "cat=/proc/self/uid_map", "cat=/proc/keys", "umount=/proc/keys", "link=/proc/1/exe")
			change(c)
			out, err := runContainer(t, c)
			if err != nil {
				t.Fatal(err)
			}
			hasAll(t, out, "Uid=0 0 0 0", "0     500000      65536", `cat /proc/keys: "" <nil>`, "umount /proc/keys: invalid argument", "fds=0 1 2\n")
			if own := strings.Contains(out, "pid=1 "); own {
				t.Errorf("it is PID 1:\n%s", out)
			}
			if seen := strings.Contains(out, "link /proc/1/exe: /bin/probe"); seen != (name == "target") {
				t.Errorf("it sees another container: %v\n%s", seen, out)
			}
		})
	}
}

func TestProbeUsers(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := ProbeUsers(t.Context(), dir); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	// A file system that cannot map ids is found out.
	if err := ProbeUsers(t.Context(), "/proc"); !errors.Is(err, ErrNoUsers) {
		t.Errorf("in /proc: %v", err)
	}
}

// Whoever has every capability of the user namespace, and sees the host's
// processes, finds nothing of the keeper in one that is on its way in, however
// long that takes. (Red without the first step "become undumpable".)
func TestUserNamespaceStalked(t *testing.T) {
	const base, starts = 600000, 20
	join := userPod(t, base)
	marker := waiting(t, &Container{Spec: testSpec(), Root: image(t), PidInit: -1, Cgroup: noCgroup()})
	o := newOutput(t)
	c := userContainer(t, base, join, "stalk="+strconv.Itoa(marker.Pid))
	c.Spec.Linux.Namespaces = without(c.Spec.Linux.Namespaces, "pid")
	c.Stdio = o.stdio()
	p, err := c.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	stalker, err := start(t, p)
	if err != nil {
		t.Fatal(err)
	}
	end(t, stalker)
	o.until(t, "ready")
	root := image(t)
	for i := range starts {
		c := userContainerOn(root, base, join, "exit=0")
		if i%2 == 0 {
			c.Spec.Linux.Namespaces = without(c.Spec.Linux.Namespaces, "pid")
		}
		slowly(t, c)
	}
	_ = unix.PidfdSendSignal(marker.Pidfd, unix.SIGKILL, nil, 0)
	wait(t, Child{Pid: marker.Pid, Pidfd: mustDup(t, marker.Pidfd)})
	if out := o.until(t, "stalked"); strings.Contains(out, "found") {
		t.Errorf("%s", out)
	}
}

// slowly runs a container whose first process rests for a while in the user
// namespace before it has become its root.
func slowly(t *testing.T, c *Container) {
	t.Helper()
	c.Stdio = newOutput(t).stdio()
	p, err := c.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	rest := p.a.words(0, uint64(20*time.Millisecond))
	for i, l := range p.a.labels {
		if l.step == "join user namespace" {
			p.a.form.Steps[i+1] = runner.Step{Nr: unix.SYS_NANOSLEEP, Kinds: runner.KindData, Args: [6]uint64{uint64(rest)}}
		}
	}
	ch, err := start(t, p)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, ch)
}
