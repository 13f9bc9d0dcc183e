package program

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

// allow is a seccomp filter that allows everything.
var allow = []byte{6, 0, 0, 0, 0, 0, 0xff, 0x7f}

func hasAll(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in\n%s", w, text)
		}
	}
}

func without(list []specs.LinuxNamespace, kind specs.LinuxNamespaceType) []specs.LinuxNamespace {
	var l []specs.LinuxNamespace
	for _, n := range list {
		if n.Type != kind {
			l = append(l, n)
		}
	}
	return l
}

// What a process begins with, with one clone and with two.
func TestContainerFacts(t *testing.T) {
	const none = "0000000000000000"
	root := image(t)
	for _, hostPID := range []bool{false, true} {
		for _, tt := range []struct {
			name   string
			change func(*Container)
			want   []string
		}{
			{"root", func(c *Container) {}, []string{
				"Uid=0 0 0 0", "Groups=\n", "CapEff=" + defaultCapsHex, "CapPrm=" + defaultCapsHex, "CapBnd=" + defaultCapsHex,
				"CapAmb=" + none, "NoNewPrivs=0", "Seccomp=0", "Umask=0022",
			}},
			{"root with a filter", func(c *Container) { c.Filter = allow }, []string{
				"CapEff=" + defaultCapsHex, "NoNewPrivs=0", "Seccomp=2",
			}},
			{"root with a filter and CAP_SYS_ADMIN", func(c *Container) {
				c.Filter = allow
				caps := append([]string{"CAP_SYS_ADMIN"}, defaultCaps...)
				c.Spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
			}, []string{"CapEff=00000000a82425fb", "Seccomp=2"}},
			{"user", func(c *Container) {
				umask := uint32(0o77)
				c.Spec.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{5, 1001}, Umask: &umask}
				c.Spec.Process.NoNewPrivileges = true
				c.Filter = allow
			}, []string{
				"Uid=1000 1000 1000 1000", "Gid=1001 1001 1001 1001", "Groups=5 1001", "CapEff=" + none, "CapPrm=" + none,
				"CapBnd=" + defaultCapsHex, "NoNewPrivs=1", "Seccomp=2", "Umask=0077",
			}},
			{"user with a filter, privileges to gain", func(c *Container) {
				c.Spec.Process.User = specs.User{UID: 1000, GID: 1000}
				c.Filter = allow
			}, []string{"CapEff=" + none, "CapPrm=" + none, "NoNewPrivs=0", "Seccomp=2"}},
			{"user with an ambient capability", func(c *Container) {
				c.Spec.Process.User = specs.User{UID: 1000, GID: 1000}
				one := []string{"CAP_NET_BIND_SERVICE"}
				c.Spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: one, Effective: one, Permitted: one, Inheritable: one, Ambient: one}
			}, []string{"CapEff=0000000000000400", "CapAmb=0000000000000400", "CapInh=0000000000000400", "CapBnd=0000000000000400"}},
			{"no capabilities", func(c *Container) { c.Spec.Process.Capabilities = nil }, []string{
				"CapEff=" + none, "CapBnd=" + none,
			}},
		} {
			t.Run(fmt.Sprintf("%s, host pid %v", tt.name, hostPID), func(t *testing.T) {
				c := &Container{Spec: testSpec("facts"), Root: root, PidInit: -1, Cgroup: noCgroup(), NoFile: &[2]uint64{1024, 1024}}
				if hostPID {
					c.Spec.Linux.Namespaces = without(c.Spec.Linux.Namespaces, "pid")
				}
				adj := 300
				c.OOMScoreAdj = &adj
				c.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 7, Hard: 9}}
				tt.change(c)
				out, err := runContainer(t, c)
				if err != nil {
					t.Fatal(err)
				}
				hasAll(t, out, append(tt.want, "SigBlk="+none, "SigIgn="+none, "fds=0 1 2\n", "leader=true", "host=inside",
					"cwd=/\n", "oom_score_adj=300", "Max open files 1024 1024", "Max core file size 7 9")...)
				if inside := strings.Contains(out, "pid=1 "); inside == hostPID {
					t.Errorf("pid 1: %v", inside)
				}
			})
		}
	}
}

// A score below our own without CAP_SYS_RESOURCE is as near as it can be.
func TestContainerOOMScoreIsClamped(t *testing.T) {
	adj := -997
	c := &Container{Spec: testSpec("facts"), Root: image(t), PidInit: -1, Cgroup: noCgroup(), OOMScoreAdj: &adj}
	out, err := runContainer(t, c)
	if err != nil {
		t.Fatal(err)
	}
	want := "oom_score_adj=0\n"
	if held, _ := linux.HeldCaps(); held.Has(unix.CAP_SYS_RESOURCE) {
		want = "oom_score_adj=-997\n"
	}
	hasAll(t, out, want)
}

func TestContainerMissingCommand(t *testing.T) {
	root := image(t)
	os.WriteFile(root.Lower[0]+"/bin/data", nil, 0o644)
	for _, tt := range []struct {
		arg string
		is  error
	}{{"/bin/nothing", fs.ErrNotExist}, {"nothing", fs.ErrNotExist}, {"data", fs.ErrPermission}, {"/bin", fs.ErrPermission}} {
		for _, hostPID := range []bool{false, true} {
			s := testSpec()
			s.Process.Args = []string{tt.arg}
			if hostPID {
				s.Linux.Namespaces = without(s.Linux.Namespaces, "pid")
			}
			_, err := runContainer(t, &Container{Spec: s, Root: root, PidInit: -1, Cgroup: noCgroup()})
			var e *StepError
			if !errors.As(err, &e) || e.Step != "exec" || e.Path != tt.arg || !errors.Is(err, tt.is) {
				t.Errorf("%s, host pid %v: %v", tt.arg, hostPID, err)
			}
		}
	}
	s := testSpec()
	s.Process.Args = []string{"probe", "facts"} // found in the second directory of PATH
	if out, err := runContainer(t, &Container{Spec: s, Root: root, PidInit: -1, Cgroup: noCgroup()}); err != nil || !strings.Contains(out, "pid=1") {
		t.Errorf("by PATH: %q %v", out, err)
	}
}

func TestContainerVolumes(t *testing.T) {
	root := image(t)
	low := root.Lower[0]
	os.RemoveAll(low + "/etc")
	os.Symlink("/usr/etc", low+"/etc")
	os.MkdirAll(low+"/var", 0o755)
	os.Symlink("/run", low+"/var/run") // dangling
	os.Symlink("../../../../../../../outside", low+"/escape")
	src := t.TempDir()
	for _, d := range []string{"a/sub", "inner", "secret"} {
		os.MkdirAll(src+"/"+d, 0o755)
	}
	os.WriteFile(src+"/resolv", []byte("nameserver"), 0o644)
	os.WriteFile(src+"/a/f", []byte("a"), 0o644)
	os.WriteFile(src+"/inner/f", []byte("inner"), 0o644)
	os.WriteFile(src+"/secret/f", []byte("secret"), 0o644)
	if err := unix.Mount("tmpfs", src+"/a/sub", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(src+"/a/sub", unix.MNT_DETACH) })
	img := image(t)
	os.WriteFile(img.Lower[1]+"/in-image", []byte("image"), 0o644)
	os.MkdirAll(img.Lower[0]+"/part", 0o755)
	os.WriteFile(img.Lower[0]+"/part/f", []byte("part"), 0o644)
	v := []Volume{
		{Destination: "/data", Source: src + "/a"},
		{Destination: "/ro", Source: src + "/a", Readonly: true},
		{Destination: "/rro", Source: src + "/a", Readonly: true, RecursiveReadonly: true},
		{Destination: "/data/inner/deep", Source: src + "/inner"},
		{Destination: "/etc/resolv.conf", Source: src + "/resolv"},
		{Destination: "/var/run/secrets", Source: src + "/secret"},
		{Destination: "/escape/v", Source: src + "/secret"},
		{Destination: "/dev/termination-log", Source: src + "/resolv"},
		{Destination: "/dev/shm", Source: src + "/inner"},
		{Destination: "/new", Source: src + "/made/by/us", MkdirMissing: true},
		{Destination: "/image", Image: &img},
		{Destination: "/part", Image: &img, ImagePath: "part"},
		{Destination: "/sys/fs/bpf", Source: src + "/inner"},
	}
	s := testSpec("create=/data/x", "create=/ro/x", "create=/ro/sub/x", "create=/rro/sub/x", "cat=/data/inner/deep/f",
		"cat=/usr/etc/resolv.conf", "cat=/run/secrets/f", "cat=/outside/v/f", "cat=/dev/termination-log", "cat=/dev/shm/f",
		"create=/new/x", "cat=/image/in-image", "create=/image/x", "cat=/part/f", "cat=/sys/fs/bpf/f", "link=/etc/mtab", "cat=/proc/sys/vm/swappiness", "write=/proc/sys/vm/swappiness")
	out, err := runContainer(t, &Container{Spec: s, Root: root, Volumes: v, PidInit: -1, Cgroup: noCgroup()})
	if err != nil {
		t.Fatal(err)
	}
	hasAll(t, out, "create /data/x: <nil>", "create /ro/x: read-only", "create /ro/sub/x: <nil>", "create /rro/sub/x: read-only",
		`deep/f: "inner"`, `resolv.conf: "nameserver"`, `secrets/f: "secret"`, `/outside/v/f: "secret"`, `termination-log: "nameserver"`,
		`/dev/shm/f: "inner"`, "create /new/x: <nil>", `in-image: "image"`, "create /image/x: read-only", `/part/f: "part"`, `bpf/f: "inner"`,
		"link /etc/mtab: /proc/mounts", "write /proc/sys/vm/swappiness: read-only")
	if _, err := os.Stat("/outside"); err == nil {
		t.Error("the host was written")
	}
	if _, err := os.Stat(src + "/made/by/us/x"); err != nil {
		t.Error(err)
	}
}

func TestContainerPropagation(t *testing.T) {
	root := image(t)
	src := t.TempDir()
	if err := unix.Mount("tmpfs", src, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(src, unix.MNT_DETACH) })
	unix.Mount("", src, "", unix.MS_PRIVATE, "")
	for _, p := range []string{"rslave", "rshared"} {
		v := []Volume{{Destination: "/v", Source: src, Propagation: p}}
		_, err := runContainer(t, &Container{Spec: testSpec("facts"), Root: root, Volumes: v, PidInit: -1, Cgroup: noCgroup()})
		if !errors.Is(err, ErrPropagation) {
			t.Errorf("%s of a private mount: %v", p, err)
		}
	}
	unix.Mount("", src, "", unix.MS_SHARED, "")
	os.Mkdir(src+"/later", 0o755)
	v := []Volume{
		{Destination: "/private", Source: src},
		{Destination: "/slave", Source: src, Propagation: "rslave"},
		{Destination: "/shared", Source: src, Propagation: "rshared"},
	}
	o := newOutput(t)
	c := &Container{Spec: testSpec("mounts", "wait"), Root: root, Volumes: v, PidInit: -1, Cgroup: noCgroup(), Stdio: o.stdio()}
	p, err := c.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ch, err := start(t, p)
	if err != nil {
		t.Fatal(err)
	}
	end(t, ch)
	out := o.until(t, "ready")
	for _, l := range strings.Split(out, "\n") {
		f := strings.Fields(l)
		if len(f) < 7 {
			continue
		}
		want, ok := map[string]string{"/private": "-", "/slave": "master:", "/shared": "shared:"}[f[4]]
		if ok && !strings.HasPrefix(f[6], want) {
			t.Errorf("want %s in %s", want, l)
		}
	}
	if err := unix.Mount("tmpfs", src+"/later", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(src+"/later", unix.MNT_DETACH)
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", ch.Pid))
	for path, want := range map[string]bool{"/private/later": false, "/slave/later": true, "/shared/later": true} {
		if got := strings.Contains(string(b), " "+path+" "); got != want {
			t.Errorf("%s: seen %v", path, got)
		}
	}
}

func TestContainerSources(t *testing.T) {
	root := image(t)
	run := func(v Volume) error {
		_, err := runContainer(t, &Container{Spec: testSpec("facts"), Root: root, Volumes: []Volume{v}, PidInit: -1, Cgroup: noCgroup()})
		return err
	}
	var se *SourceError
	if err := run(Volume{Destination: "/v", Source: "/nonexistent/path"}); !errors.Is(err, ErrSourceMissing) || !errors.As(err, &se) || se.Path != "/nonexistent/path" {
		t.Error(err)
	}
	dir := t.TempDir()
	os.Symlink("loop", dir+"/loop")
	if err := run(Volume{Destination: "/v", Source: dir + "/loop"}); !errors.Is(err, unix.ELOOP) {
		t.Error(err)
	}
	unix.Mkfifo(dir+"/fifo", 0o600)
	if err := run(Volume{Destination: "/v", Source: dir + "/fifo"}); err != nil {
		t.Error(err)
	}
	for _, d := range []string{"/proc", "/proc/self", "/proc/sys/kernel", "/proc/thread-self/attr", "/", "relative"} {
		if err := run(Volume{Destination: d, Source: dir}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", d, err)
		}
	}
}

// Hostile images: what lies at the places that matter, and must not be followed.
func TestContainerHostileImage(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(low, decoy string)
		vol  string
		want error
	}{
		{"/dev is a symlink", func(low, decoy string) { os.Symlink(decoy, low+"/dev") }, "", linux.ErrSymlink},
		{"/dev is a relative symlink", func(low, _ string) { os.Symlink("tmp", low+"/dev") }, "", linux.ErrSymlink},
		{"/proc is a symlink", func(low, decoy string) { os.Symlink(decoy, low+"/proc") }, "", linux.ErrSymlink},
		{"/sys is a symlink", func(low, decoy string) { os.Symlink(decoy, low+"/sys") }, "", linux.ErrSymlink},
		{"/proc is a file", func(low, _ string) { os.WriteFile(low+"/proc", nil, 0o644) }, "", linux.ErrKind},
		{"/dev/null is a symlink", func(low, _ string) {
			os.Mkdir(low+"/dev", 0o755)
			os.Symlink("/proc/sys/kernel/core_pattern", low+"/dev/null")
		}, "", nil},
		{"/dev/pts is a symlink", func(low, decoy string) {
			os.Mkdir(low+"/dev", 0o755)
			os.Symlink(decoy, low+"/dev/pts")
		}, "", nil},
		{"/etc leaves", func(low, _ string) {
			os.RemoveAll(low + "/etc")
			os.Symlink("../../../..", low+"/etc")
		}, "", nil},
		{"target above the root", func(string, string) {}, "/../../../v", nil},
		{"target through an absolute link", func(low, decoy string) { os.Symlink(decoy, low+"/t") }, "/t/v", nil},
		{"target through a link to /proc", func(low, _ string) { os.Symlink("/proc", low+"/t") }, "/t/self", ErrInvalid},
		{"target is a loop", func(low, _ string) { os.Symlink("t", low+"/t") }, "/t/v", unix.ELOOP},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root, decoy := image(t), t.TempDir()
			tt.make(root.Lower[0], decoy)
			c := &Container{Spec: testSpec("facts"), Root: root, PidInit: -1, Cgroup: noCgroup()}
			if tt.vol != "" {
				c.Volumes = []Volume{{Destination: tt.vol, Source: t.TempDir()}}
			}
			before, _ := os.ReadFile("/proc/sys/kernel/core_pattern")
			_, err := runContainer(t, c)
			if !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			after, _ := os.ReadFile("/proc/sys/kernel/core_pattern")
			if string(before) != string(after) {
				t.Error("core_pattern has changed")
			}
			if es, _ := os.ReadDir(decoy); len(es) != 0 {
				t.Errorf("the host's %s holds %v", decoy, es)
			}
		})
	}
}

func TestContainerMasks(t *testing.T) {
	s := testSpec("stat=/proc/kcore", "cat=/proc/timer_list", "cat=/proc/keys", "ls=/sys/firmware", "write=/proc/sys/kernel/hostname", "create=/made", "ls=/sys/fs/cgroup", "create=/sys/fs/cgroup/x")
	s.Linux.MaskedPaths = append(s.Linux.MaskedPaths, "/usr/etc", "/no/such/path")
	s.Process.Args = append(s.Process.Args, "ls=/usr/etc")
	root := image(t)
	root.Readonly = true
	os.WriteFile(root.Lower[0]+"/usr/etc/hidden", nil, 0o644)
	out, err := runContainer(t, &Container{Spec: s, Root: root, PidInit: -1, Cgroup: noCgroup()})
	if err != nil {
		t.Fatal(err)
	}
	hasAll(t, out, `cat /proc/timer_list: "" <nil>`, `cat /proc/keys: "" <nil>`, "ls /sys/firmware: [] <nil>", "ls /usr/etc: [] <nil>",
		"write /proc/sys/kernel/hostname: read-only", "create /made: read-only", "create /sys/fs/cgroup/x: read-only")
	s = testSpec("facts")
	s.Linux.MaskedPaths = []string{"/proc/self"}
	if _, err = runContainer(t, &Container{Spec: s, Root: root, PidInit: -1, Cgroup: noCgroup()}); !errors.Is(err, linux.ErrSymlink) {
		t.Error(err)
	}
}

func TestContainerWorkingDirectory(t *testing.T) {
	for cwd, want := range map[string]string{"/new/dir": "cwd=/new/dir\n", "/../bin": "cwd=/bin\n", "/link": "cwd=/bin\n"} {
		root := image(t)
		os.Symlink("/bin", root.Lower[0]+"/link")
		s := testSpec("facts")
		s.Process.Cwd = cwd
		out, err := runContainer(t, &Container{Spec: s, Root: root, PidInit: -1, Cgroup: noCgroup()})
		if err != nil {
			t.Errorf("%s: %v", cwd, err)
		}
		hasAll(t, out, want)
	}
	for i := range 64 { // whatever number a descriptor of the host has
		s := testSpec("facts")
		s.Process.Cwd = fmt.Sprintf("/proc/self/fd/%d", i)
		_, err := runContainer(t, &Container{Spec: s, Root: image(t), PidInit: -1, Cgroup: noCgroup()})
		if err == nil {
			t.Errorf("%s was entered", s.Process.Cwd)
		}
		if i > 4 && testing.Short() {
			break
		}
	}
}

func TestContainerDevices(t *testing.T) {
	s := testSpec("stat=/dev/null", "stat=/dev/deep/er/dev", "stat=/dev/mine", "stat=/opt/dev", "link=/dev/fd", "link=/dev/ptmx", "stat=/dev/pts/ptmx", "stat=/dev/shm", "stat=/dev/mqueue")
	uid, mode := uint32(7), os.FileMode(0o600)
	s.Linux.Devices = []specs.LinuxDevice{
		{Path: "/dev/mine", Type: "c", Major: 1, Minor: 5, UID: &uid, FileMode: &mode},
		{Path: "/dev/deep/er/dev", Type: "b", Major: 7, Minor: 200},
		{Path: "/opt/dev", Type: "c", Major: 1, Minor: 3},
	}
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}})
	out, err := runContainer(t, &Container{Spec: s, Root: image(t), PidInit: -1, Cgroup: noCgroup()})
	if err != nil {
		t.Fatal(err)
	}
	hasAll(t, out, "stat /dev/null: 20666 1:3", "stat /dev/mine: 20600 1:5 7:0", "stat /dev/deep/er/dev: 60666 7:200", "stat /opt/dev: 20666 1:3",
		"link /dev/fd: /proc/self/fd", "link /dev/ptmx: pts/ptmx", "stat /dev/pts/ptmx: 20666 5:2", "stat /dev/shm: 41777")
	s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "b", Major: 1<<32 + 254, Minor: 0}}
	if _, err := runContainer(t, &Container{Spec: s, Root: image(t), PidInit: -1, Cgroup: noCgroup()}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func TestContainerTerminal(t *testing.T) {
	s := testSpec("ctty", "stat=/dev/console", "link=/proc/self/fd/0", "facts", "wait")
	s.Process.Terminal = true
	s.Process.User.UID = 1000
	s.Process.ConsoleSize = &specs.Box{Height: 11, Width: 22}
	c := &Container{Spec: s, Root: image(t), PidInit: -1, Cgroup: noCgroup(), Stdio: Stdio{-1, -1, -1}}
	p, err := c.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	master, devpts := p.Terminal()
	if master < 0 || devpts < 0 {
		t.Fatal(master, devpts)
	}
	defer linux.CloseAll(devpts)
	ch, err := start(t, p)
	if err != nil {
		t.Fatal(err)
	}
	end(t, ch)
	out := strings.ReplaceAll((&output{r: master}).until(t, "ready"), "\r", "")
	hasAll(t, out, "ctty: <nil>", "to the terminal", "/dev/console: 20620 136:0 1000:5", "fd/0: /dev/pts/0", "fds=0 1 2\n")
	ws, err := unix.IoctlGetWinsize(master, unix.TIOCGWINSZ)
	if err != nil || ws.Row != 11 || ws.Col != 22 {
		t.Error(ws, err)
	}
	execWithTerminal(t, ch, devpts)
	unix.Close(master)
}

func execWithTerminal(t *testing.T, init Child, devpts int) {
	p := testSpec("ctty", "link=/proc/self/fd/0", "facts").Process
	p.Terminal = true
	prog, err := (&Exec{Process: p, Init: init.Pidfd, Cgroup: noCgroup(), Stdio: Stdio{-1, -1, -1}, Devpts: devpts}).Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	master, _ := prog.Terminal()
	defer unix.Close(master)
	ch, err := start(t, prog)
	if err != nil {
		t.Fatal(err)
	}
	out := strings.ReplaceAll((&output{r: master}).until(t, "leader="), "\r", "")
	hasAll(t, out, "ctty: <nil>", "fd/0: /dev/pts/1", "fds=0 1 2\n")
	wait(t, ch)
}

// A volume over /dev: nothing of ours is made in it, and a terminal comes from elsewhere.
func TestContainerForeignDev(t *testing.T) {
	dev := t.TempDir()
	s := testSpec("ls=/dev", "facts")
	s.Process.Terminal = true
	s.Mounts = append(s.Mounts[:1:1], s.Mounts[4:]...)
	c := &Container{
		Spec: s, Root: image(t), PidInit: -1, Cgroup: noCgroup(), Stdio: Stdio{-1, -1, -1},
		Volumes: []Volume{{Destination: "/dev", Source: dev}},
	}
	p, err := c.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	master, devpts := p.Terminal()
	defer linux.CloseAll(master, devpts)
	ch, err := start(t, p)
	if err != nil {
		t.Fatal(err)
	}
	hasAll(t, (&output{r: master}).until(t, "leader="), "ls /dev: [] <nil>", "fds=0 1 2")
	wait(t, ch)
	if es, _ := os.ReadDir(dev); len(es) != 0 {
		t.Errorf("made in the volume: %v", es)
	}
}

// A step that hangs ends with ctx, and nothing is left.
func TestContainerHungStep(t *testing.T) {
	a := newAssembly()
	a.about("/hung").call("hang", unix.SYS_PPOLL, 0, 0, 0, 0, 0)
	a.call("end", unix.SYS_EXIT_GROUP, 0)
	p := newProgram(a)
	needRoot(t)
	fd, err := p.Seal()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	l, err := Load(fd, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = l.Start(ctx)
	var f *Failed
	if !errors.As(err, &f) || f.Step != 0 || f.Errno != unix.ETIMEDOUT || f.Left != nil {
		t.Errorf("%+v", err)
	}
	if got := p.Failure(f.Step, f.Errno).Error(); got != `hang "/hung": connection timed out` {
		t.Error(got)
	}
}

func TestContainerInvalid(t *testing.T) {
	root := image(t)
	for name, change := range map[string]func(*Container){
		"no spec":             func(c *Container) { c.Spec = nil },
		"no command":          func(c *Container) { c.Spec.Process.Args = nil },
		"NUL":                 func(c *Container) { c.Spec.Process.Env = []string{"A=\x00"} },
		"capability":          func(c *Container) { c.Spec.Process.Capabilities.Bounding = []string{"CAP_NONE"} },
		"limit":               func(c *Container) { c.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_X"}} },
		"namespace by path":   func(c *Container) { c.Spec.Linux.Namespaces[4].Path = "/some/where" },
		"time namespace":      func(c *Container) { c.Spec.Linux.Namespaces[4].Type = "time" },
		"filter":              func(c *Container) { c.Filter = []byte{1} },
		"file system":         func(c *Container) { c.Spec.Mounts[3].Type = "ext4" },
		"selinux":             func(c *Container) { c.Spec.Process.SelinuxLabel = "x" },
		"v1 cgroups unmasked": func(c *Container) { c.Spec.Linux.Namespaces = without(c.Spec.Linux.Namespaces, "cgroup") },
	} {
		if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil && strings.HasPrefix(name, "v1") {
			continue
		}
		c := &Container{Spec: testSpec("facts"), Root: root, PidInit: -1, Cgroup: noCgroup()}
		change(c)
		if _, err := runContainer(t, c); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No build leaves a descriptor open, whether it succeeds or not.
func TestBuildLeaksNothing(t *testing.T) {
	root := image(t)
	count := func() int {
		es, _ := os.ReadDir("/proc/self/fd")
		return len(es)
	}
	build := func(vol string) {
		o := Stdio{3, 3, 3}
		s := testSpec("facts")
		s.Process.Terminal = true
		c := &Container{Spec: s, Root: root, PidInit: -1, Cgroup: noCgroup(), Stdio: o, Volumes: []Volume{{Destination: "/v", Source: vol}}}
		if p, err := c.Build(t.Context()); err == nil {
			p.Close()
		}
	}
	build("/")
	before := count()
	for range 10 {
		build("/")
		build("/nonexistent")
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors, then %d", before, after)
	}
	m, _ := filepath.Glob(root.Upper + "/*")
	if len(m) == 0 {
		t.Error("nothing was made in the root")
	}
}
