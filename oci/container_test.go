package oci

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// input is a request that is granted; tests change it.
func input() ContainerInput {
	return ContainerInput{
		ID: "c1", PodID: "p1", Host: testHost(), Files: podFiles(), Hostname: "web",
		Pod: &runtimeapi.PodSandboxConfig{
			Metadata:     &runtimeapi.PodSandboxMetadata{Name: "web", Namespace: "shop", Uid: "u"},
			LogDirectory: "/var/log/pods/x",
			Linux:        &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{Privileged: true}},
		},
		Container: &runtimeapi.ContainerConfig{
			Metadata: &runtimeapi.ContainerMetadata{Name: "app"},
			Image:    &runtimeapi.ImageSpec{Image: "shop/app"},
			Command:  []string{"/app"},
			Linux: &runtimeapi.LinuxContainerConfig{
				Resources:       &runtimeapi.LinuxContainerResources{},
				SecurityContext: &runtimeapi.LinuxContainerSecurityContext{},
			},
		},
	}
}

func mustSpec(t *testing.T, in ContainerInput) *specs.Spec {
	t.Helper()
	s, err := Container(in)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestArgs(t *testing.T) {
	image := ImageConfig{Entrypoint: []string{"entry"}, Cmd: []string{"cmd"}}
	for _, c := range []struct {
		name          string
		command, args []string
		image         ImageConfig
		want          string
		err           string
	}{
		{name: "image", image: image, want: "entry cmd"},
		{name: "args replace cmd", args: []string{"a"}, image: image, want: "entry a"},
		{name: "command drops cmd", command: []string{"c"}, image: image, want: "c"},
		{name: "both", command: []string{"c"}, args: []string{"a"}, image: image, want: "c a"},
		{name: "cmd only", image: ImageConfig{Cmd: []string{"cmd"}}, want: "cmd"},
		{name: "cleared entrypoint", image: ImageConfig{Entrypoint: []string{""}, Cmd: []string{"cmd"}}, want: "cmd"},
		{name: "none", err: `no command specified: the request has none, nor has image "shop/app"`},
		{name: "empty", command: []string{""}, err: "command: empty"},
		{name: "NUL", command: []string{"a\x00b"}, err: "NUL"},
		{name: "NUL of image", image: ImageConfig{Cmd: []string{"a\x00"}}, err: "NUL"},
		{name: "long", command: []string{"a", strings.Repeat("x", maxArg)}, err: "the longest is"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := input()
			in.Container.Command, in.Container.Args, in.Image = c.command, c.args, c.image
			s, err := Container(in)
			if c.err != "" {
				if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || strings.Join(s.Process.Args, " ") != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	in := input()
	in.Container.Tty = true
	in.User = User{Home: "/home/app"}
	in.Image.Env = []string{"A=image", "A=again", "=x", "NOTHING", "B=b=b"}
	in.Container.Envs = []*runtimeapi.KeyValue{
		{Key: "HOSTNAME", Value: []byte("mine")}, {Key: "BYTES", Value: []byte{0xff, '\n', 0xfe}}, {Key: "A", Value: nil},
	}
	want := []string{defaultPath, "TERM=xterm", "HOSTNAME=mine", "A=", "B=b=b", "BYTES=\xff\n\xfe", "HOME=/home/app"}
	s := mustSpec(t, in)
	if !slices.Equal(s.Process.Env, want) {
		t.Errorf("%q, want %q", s.Process.Env, want)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	s = &specs.Spec{}
	if err := json.Unmarshal(text, s); err != nil || s.Process.Env[5] == want[5] {
		t.Errorf("JSON does hold %q: %v", s.Process.Env[5], err)
	}
	if RestoreEnv(s, in.Container); !slices.Equal(s.Process.Env, want) {
		t.Errorf("restored %q, want %q", s.Process.Env, want)
	}
	for _, kv := range []*runtimeapi.KeyValue{{Key: ""}, {Key: "A=B"}, {Key: "A\x00"}, {Key: "A", Value: []byte("a\x00b")}} {
		in.Container.Envs = []*runtimeapi.KeyValue{kv}
		if _, err := Container(in); !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "a\x00b") {
			t.Errorf("%q: error %v", kv, err)
		}
	}
}

func TestWorkingDir(t *testing.T) {
	for _, c := range []struct{ request, image, want string }{
		{"", "", "/"}, {"", "/app/", "/app"}, {"/a/../../b", "/app", "/b"}, {"rel", "", ""}, {"", "rel", ""}, {"/a\x00", "", ""},
	} {
		in := input()
		in.Container.WorkingDir, in.Image.WorkingDir = c.request, c.image
		s, err := Container(in)
		if (err != nil) != (c.want == "") || err == nil && s.Process.Cwd != c.want {
			t.Errorf("%q, %q: %v, want %q", c.request, c.image, err, c.want)
		}
	}
}

func TestCapabilities(t *testing.T) {
	all := capSet{}
	all.add(testHost().Capabilities)
	without := func(drop string) []string {
		return slices.DeleteFunc(all.sorted(), func(c string) bool { return c == drop })
	}
	def := capSet{}
	def.add(defaultCapabilities)
	for _, c := range []struct {
		name       string
		req        *runtimeapi.Capability
		privileged bool
		want, amb  []string
		err        string
	}{
		{name: "default", want: def.sorted()},
		{name: "any spelling", req: &runtimeapi.Capability{DropCapabilities: []string{"all"}, AddCapabilities: []string{"cap_sys_admin", "Net_Raw"}}, want: []string{"CAP_NET_RAW", "CAP_SYS_ADMIN"}},
		{name: "add all", req: &runtimeapi.Capability{AddCapabilities: []string{"ALL"}}, want: all.sorted()},
		{name: "add all but", req: &runtimeapi.Capability{AddCapabilities: []string{"ALL"}, DropCapabilities: []string{"CHOWN"}}, want: without("CAP_CHOWN")},
		{name: "add and drop all", req: &runtimeapi.Capability{AddCapabilities: []string{"ALL", "KILL"}, DropCapabilities: []string{"ALL"}}, want: []string{"CAP_KILL"}},
		{name: "drop wins", req: &runtimeapi.Capability{AddCapabilities: []string{"KILL"}, DropCapabilities: []string{"ALL", "KILL"}}, want: []string{}},
		{name: "ambient", req: &runtimeapi.Capability{DropCapabilities: []string{"ALL"}, AddAmbientCapabilities: []string{"NET_RAW"}}, want: []string{"CAP_NET_RAW"}, amb: []string{"CAP_NET_RAW"}},
		{name: "privileged", privileged: true, want: all.sorted()},
		{name: "not held", req: &runtimeapi.Capability{AddCapabilities: []string{"SYS_RESOURCE"}}, err: `"CAP_SYS_RESOURCE" cannot be given`},
		{name: "unknown", req: &runtimeapi.Capability{AddCapabilities: []string{"FLY"}}, err: `add_capabilities: unknown capability "FLY"`},
		{name: "unknown drop", req: &runtimeapi.Capability{DropCapabilities: []string{"FLY"}}, err: `drop_capabilities: unknown`},
		{name: "unknown ambient", req: &runtimeapi.Capability{AddAmbientCapabilities: []string{""}}, err: `add_ambient_capabilities: unknown`},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := input()
			in.Container.Linux.SecurityContext.Capabilities = c.req
			in.Container.Linux.SecurityContext.Privileged = c.privileged
			s, err := Container(in)
			if c.err != "" {
				if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			caps := s.Process.Capabilities
			for name, set := range map[string][]string{"bounding": caps.Bounding, "effective": caps.Effective, "permitted": caps.Permitted} {
				if !slices.Equal(set, c.want) {
					t.Errorf("%s %v, want %v", name, set, c.want)
				}
			}
			if !slices.Equal(caps.Inheritable, c.amb) || !slices.Equal(caps.Ambient, c.amb) {
				t.Errorf("inheritable %v, ambient %v, want %v", caps.Inheritable, caps.Ambient, c.amb)
			}
		})
	}
}

func destinations(s *specs.Spec) []string {
	var out []string
	for _, m := range s.Mounts {
		out = append(out, m.Destination)
	}
	return out
}

func TestMounts(t *testing.T) {
	mount := func(dst, src string) *runtimeapi.Mount {
		return &runtimeapi.Mount{ContainerPath: dst, HostPath: src}
	}
	in := input()
	in.Container.Mounts = []*runtimeapi.Mount{mount("/a/b/c", "/1"), mount("/dev", "/dev"), mount("/a", "/2"), mount("/a/", "/3"), mount("/proc/cpuinfo", "/4")}
	in.Volumes = []Volume{{Source: "/v", Destination: "/a"}, {Source: "/v", Destination: "vol/../w"}}
	s := mustSpec(t, in)
	want := "/proc /sys /sys/fs/cgroup /w /dev /a /a /etc/hosts /etc/resolv.conf /etc/hostname /dev/shm /proc/cpuinfo /a/b/c"
	if got := strings.Join(destinations(s), " "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, c := range []struct {
		name string
		m    *runtimeapi.Mount
		err  string
	}{
		{"no host path", mount("/a", ""), "mounts[0].host_path: missing"},
		{"relative host path", mount("/a", "b"), "is not absolute"},
		{"NUL", mount("/a", "/b\x00"), "NUL"},
		{"NUL in container path", mount("/a\x00", "/b"), "container_path"},
		{"no container path", mount("", "/b"), "container_path: missing"},
		{"root", mount("/a/..", "/b"), "the root of the container"},
		{"proc", mount("/proc", "/b"), "/proc"},
		{"proc self", mount("/proc/self/attr", "/b"), "below /proc are not allowed"},
		{"proc sys", mount("proc/sys/kernel", "/b"), "below /proc are not allowed"},
		{"proc by detour", mount("/x/../proc/./sys", "/b"), "below /proc are not allowed"},
		{"propagation", &runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", Propagation: 7}, "propagation: unknown value 7"},
		{"rro writable", &runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", RecursiveReadOnly: true}, "needs readonly"},
		{"rro shared", &runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", RecursiveReadOnly: true, Readonly: true, Propagation: 1}, "needs private"},
		{"options", &runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", MountOptions: []string{"noexec", "rw"}}, `mount_options: "rw" is not one of noexec`},
		{"option of a file system", &runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", MountOptions: []string{"upperdir=/etc"}}, `"upperdir=/etc" is not one of`},
		{"option that says where", &runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", MountOptions: []string{"rshared"}}, `"rshared" is not one of`},
		{"options that exclude each other", &runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", MountOptions: []string{"noatime", "relatime"}}, `"noatime" and "relatime"`},
		{"half an id map", &runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", UidMappings: []*runtimeapi.IDMapping{{Length: 1}}}, "one without the other"},
		{"empty id map", &runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", UidMappings: []*runtimeapi.IDMapping{{}}, GidMappings: []*runtimeapi.IDMapping{{Length: 1}}}, "uidMappings: mapping 0:0 of length 0"},
		{"image and host", &runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", Image: &runtimeapi.ImageSpec{Image: "i"}}, "only one"},
		{"sub path up", &runtimeapi.Mount{ContainerPath: "/a", Image: &runtimeapi.ImageSpec{Image: "i"}, ImageSubPath: "a/../../b"}, "leaves the image"},
		{"sub path without image", &runtimeapi.Mount{ContainerPath: "/a", HostPath: "/b", ImageSubPath: "a"}, "without image"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := input()
			in.Container.Mounts = []*runtimeapi.Mount{c.m}
			if _, err := Container(in); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
	in = input()
	in.Host.RecursiveReadonly = false
	in.Container.Mounts = []*runtimeapi.Mount{{ContainerPath: "/a", HostPath: "/b", RecursiveReadOnly: true, Readonly: true}}
	_, err := Container(in)
	if rro := new(RROUnsupportedError); !errors.As(err, &rro) || !errors.Is(err, ErrInvalid) || !strings.HasPrefix(err.Error(), "RROUnsupported: ") {
		t.Errorf("error %v", err)
	}
}

// The host's /dev at /dev: no node may be made there.
func TestHostDev(t *testing.T) {
	in := input()
	in.Container.Linux.SecurityContext.Privileged = true
	in.Container.Mounts = []*runtimeapi.Mount{{ContainerPath: "/dev", HostPath: "/dev"}}
	if s := mustSpec(t, in); len(s.Linux.Devices) != 0 {
		t.Errorf("devices %v", s.Linux.Devices)
	}
}

func TestVolumePaths(t *testing.T) {
	c := &runtimeapi.ContainerConfig{Mounts: []*runtimeapi.Mount{{ContainerPath: "/data/", HostPath: "/x"}}}
	got, err := VolumePaths(ImageConfig{Volumes: map[string]struct{}{"/data": {}, "../../etc": {}, "b/": {}, "/b": {}}}, c)
	if err != nil || !slices.Equal(got, []string{"/b", "/etc"}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "/", "/proc", "/proc/sys", "/a\x00"} {
		if _, err := VolumePaths(ImageConfig{Volumes: map[string]struct{}{bad: {}}}, c); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}

func TestHiddenPaths(t *testing.T) {
	in := input()
	if s := mustSpec(t, in); s.Linux.MaskedPaths != nil || s.Linux.ReadonlyPaths != nil {
		t.Error("empty lists mean none")
	}
	in.Container.Linux = nil
	if s := mustSpec(t, in); !slices.Equal(s.Linux.MaskedPaths, defaultMasked) || !slices.Equal(s.Linux.ReadonlyPaths, defaultReadonly) {
		t.Error("no security context means the usual lists")
	}
}

func TestDevices(t *testing.T) {
	for _, c := range []struct {
		d   *runtimeapi.Device
		err string
	}{
		{&runtimeapi.Device{HostPath: "/dev/fuse", ContainerPath: "/dev/fuse", Permissions: "rwx"}, "permissions"},
		{&runtimeapi.Device{HostPath: "/dev/fuse", ContainerPath: "/dev/fuse", Permissions: "rr"}, "permissions"},
		{&runtimeapi.Device{HostPath: "/dev/nope", ContainerPath: "/dev/x", Permissions: "r"}, "no device"},
		{&runtimeapi.Device{HostPath: "/dev/fuse", ContainerPath: "/dev/null", Permissions: "r"}, "the runtime's own"},
		{&runtimeapi.Device{HostPath: "dev/fuse", ContainerPath: "/dev/x"}, "host_path"},
		{&runtimeapi.Device{HostPath: "/dev/fuse", ContainerPath: "/sys/x"}, "container_path"},
	} {
		in := input()
		in.Container.Devices = []*runtimeapi.Device{c.d}
		if _, err := Container(in); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v: error %v, want %q", c.d, err, c.err)
		}
	}
}

func TestConfinement(t *testing.T) {
	sc := func() (ContainerInput, *runtimeapi.LinuxContainerSecurityContext) {
		in := input()
		return in, in.Container.Linux.SecurityContext
	}
	profile := func(kind runtimeapi.SecurityProfile_ProfileType, ref string) *runtimeapi.SecurityProfile {
		return &runtimeapi.SecurityProfile{ProfileType: kind, LocalhostRef: ref}
	}
	const localhost = runtimeapi.SecurityProfile_Localhost
	t.Run("nil is unconfined", func(t *testing.T) {
		in, _ := sc()
		if s := mustSpec(t, in); s.Linux.Seccomp != nil {
			t.Error("a profile")
		}
	})
	t.Run("old field", func(t *testing.T) {
		for old, want := range map[string]bool{"runtime/default": true, "docker/default": true, "unconfined": false, "": false} {
			in, c := sc()
			//lint:ignore SA1019 old clients send it
			c.SeccompProfilePath = old
			if s := mustSpec(t, in); (s.Linux.Seccomp != nil) != want {
				t.Errorf("%q: profile %v", old, s.Linux.Seccomp != nil)
			}
		}
		in, c := sc()
		//lint:ignore SA1019 the new field wins
		c.SeccompProfilePath = "runtime/default"
		c.Seccomp = profile(runtimeapi.SecurityProfile_Unconfined, "")
		if s := mustSpec(t, in); s.Linux.Seccomp != nil {
			t.Error("the old field won")
		}
	})
	t.Run("no seccomp", func(t *testing.T) {
		in, c := sc()
		in.Host.Seccomp = false
		c.Seccomp = profile(runtimeapi.SecurityProfile_RuntimeDefault, "")
		if _, err := Container(in); !errors.Is(err, ErrInvalid) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("bad profiles", func(t *testing.T) {
		for text, want := range map[string]string{
			"": "empty", "{}": "no defaultAction", "null": "no defaultAction", "[]": "cannot unmarshal",
			`{"defaultAction":"SCMP_ACT_ERRNO"} x`:                                                                 "after the profile",
			`{"defaultAction":"SCMP_ACT_ERRNO","sycalls":[]}`:                                                      "unknown field",
			`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[null]}`:                                                 "is null",
			`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_ALLOW"}]}`: "only one",
		} {
			in, c := sc()
			c.Seccomp, in.Seccomp = profile(localhost, "/p.json"), []byte(text)
			if _, err := Container(in); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "/p.json") {
				t.Errorf("%s: error %v, want %q", text, err, want)
			}
		}
		for _, ref := range []string{"", "localhost/", "relative.json"} {
			in, c := sc()
			c.Seccomp = profile(localhost, ref)
			if _, err := SeccompFile(in.Container); !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: error %v", ref, err)
			}
		}
	})
	t.Run("apparmor", func(t *testing.T) {
		in, c := sc()
		if s := mustSpec(t, in); s.Process.ApparmorProfile != "" {
			t.Error("a profile without AppArmor")
		}
		c.Apparmor = profile(localhost, "localhost/mine")
		if _, err := Container(in); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "no AppArmor") {
			t.Errorf("error %v", err)
		}
		in.Host.AppArmor = &AppArmor{Default: "slipway-default", Loaded: func(n string) bool { return n != "other" }}
		if s := mustSpec(t, in); s.Process.ApparmorProfile != "mine" {
			t.Errorf("profile %q", s.Process.ApparmorProfile)
		}
		c.Apparmor.LocalhostRef = "other"
		if _, err := Container(in); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "not loaded") {
			t.Errorf("error %v", err)
		}
		c.Apparmor = nil
		if s := mustSpec(t, in); s.Process.ApparmorProfile != "slipway-default" {
			t.Errorf("profile %q", s.Process.ApparmorProfile)
		}
		in.Host.AppArmor.Default, in.Host.AppArmor.Missing = "", errors.New("no apparmor_parser")
		if s := mustSpec(t, in); s.Process.ApparmorProfile != "" {
			t.Errorf("profile %q", s.Process.ApparmorProfile)
		}
		c.Apparmor = profile(runtimeapi.SecurityProfile_RuntimeDefault, "")
		if _, err := Container(in); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "RuntimeDefault: no apparmor_parser") {
			t.Errorf("asked for and not to be had: error %v", err)
		}
		c.Apparmor = nil
		//lint:ignore SA1019 old clients send it
		c.ApparmorProfile = "runtime/default"
		if _, err := Container(in); !errors.Is(err, ErrInvalid) {
			t.Errorf("asked for as of old and not to be had: error %v", err)
		}
		in.Host.AppArmor.Default = "other"
		if _, err := Container(in); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "not loaded any more") {
			t.Errorf("unloaded: error %v", err)
		}
		c.Apparmor = profile(runtimeapi.SecurityProfile_Unconfined, "")
		if s := mustSpec(t, in); s.Process.ApparmorProfile != "" {
			t.Errorf("unconfined: profile %q", s.Process.ApparmorProfile)
		}
		c.Apparmor, in.Host.AppArmor.Default = nil, "slipway-default"
		c.Privileged = true
		if s := mustSpec(t, in); s.Process.ApparmorProfile != "" {
			t.Errorf("privileged: profile %q", s.Process.ApparmorProfile)
		}
	})
	t.Run("selinux", func(t *testing.T) {
		in, c := sc()
		c.SelinuxOptions = &runtimeapi.SELinuxOption{Level: "s0:c1,c2", Type: "spc_t"}
		if _, err := Container(in); !errors.Is(err, ErrInvalid) {
			t.Errorf("error %v", err)
		}
		in.Host.SELinux = &SELinux{Process: "system_u:system_r:container_t:s0:c5,c6", Mount: "system_u:object_r:container_file_t:s0:c5,c6"}
		s := mustSpec(t, in)
		if s.Process.SelinuxLabel != "system_u:system_r:spc_t:s0:c1,c2" || s.Linux.MountLabel != "system_u:object_r:container_file_t:s0:c1,c2" {
			t.Errorf("%q, %q", s.Process.SelinuxLabel, s.Linux.MountLabel)
		}
	})
}

// The default profile closes AF_ALG and AF_VSOCK, also by socketcall.
func TestRuntimeDefault(t *testing.T) {
	in := input()
	in.Container.Linux.SecurityContext.Seccomp = &runtimeapi.SecurityProfile{}
	rules := func(name string) (out []specs.LinuxSyscall) {
		for _, c := range mustSpec(t, in).Linux.Seccomp.Syscalls {
			if slices.Contains(c.Names, name) {
				out = append(out, c)
			}
		}
		return out
	}
	if r := rules("socket"); len(r) != 3 {
		t.Errorf("%d rules for socket, want 3 ranges", len(r))
	}
	if r := rules("socketcall"); len(r) != 1 || r[0].Action != specs.ActErrno || *r[0].ErrnoRet != 38 {
		t.Errorf("socketcall: %+v", r)
	}
	if r := rules("mount"); len(r) != 0 {
		t.Errorf("mount without CAP_SYS_ADMIN: %+v", r)
	}
	in.Container.Linux.SecurityContext.Capabilities = &runtimeapi.Capability{AddCapabilities: []string{"SYS_ADMIN"}}
	if r := rules("mount"); len(r) != 1 {
		t.Errorf("mount with CAP_SYS_ADMIN: %+v", r)
	}
	in.Host.Socketcall = true
	if r := rules("socketcall"); len(r) != 1 || r[0].Action != specs.ActAllow {
		t.Errorf("socketcall, opted out: %+v", r)
	}
	if len(rules("ptrace")) == 0 {
		t.Error("ptrace is allowed on new kernels")
	}
	in.Host.Kernel = [2]int{4, 4}
	if len(rules("ptrace")) != 0 {
		t.Error("ptrace is not allowed before 4.8")
	}
}

// What only a hostile image brings must not change the spec, but for what an
// image may decide.
func TestImageAndAnnotationsCannotCommand(t *testing.T) {
	plain := mustSpec(t, input())
	in := input()
	in.Image.Labels = map[string]string{"io.kubernetes.cri.sandbox-id": "x", "containerd.io/restart.loguri": "binary:///bin/sh"}
	in.Container.Annotations = map[string]string{
		"run.oci.hooks.stdout": "/x", "org.systemd.property.ExecStart": "x", "io.kubernetes.cri-o.Devices": "/dev/sda",
		"io.containerd.runc": "x", "io.katacontainers.config": "x", "io.kubernetes.cri.sandbox-id": "other",
	}
	if got, want := mustSpec(t, in).Annotations, plain.Annotations; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	in.Container.Annotations = map[string]string{"example.com/note": "kept"}
	if mustSpec(t, in).Annotations["example.com/note"] != "kept" {
		t.Error("an annotation is lost")
	}
}

func TestResources(t *testing.T) {
	r, err := Resources(&runtimeapi.LinuxContainerResources{CpuQuota: -1, MemoryLimitInBytes: 100, HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "1GB"}}}, Host{})
	if err != nil || *r.CPU.Quota != -1 || r.CPU.Shares != nil || r.Memory.Swap != nil || r.HugepageLimits != nil {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := Resources(nil, Host{}); err != nil || r.CPU != nil || r.Memory != nil {
		t.Errorf("nothing asked: %+v, %v", r, err)
	}
	for _, bad := range []*runtimeapi.LinuxContainerResources{
		{CpuShares: -1},
		{CpuQuota: -2},
		{OomScoreAdj: 1001},
		{CpusetCpus: "0-1\n"},
		{MemoryLimitInBytes: -2},
		{Unified: map[string]string{"../x": "1"}},
		{Unified: map[string]string{"cgroup.procs": "1"}},
		{Unified: map[string]string{"memory.max": "1\x00"}},
		{Unified: map[string]string{"memory": "1"}},
		{HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "../2M", Limit: 1}}},
		{HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "2MB", Limit: 1}}},
	} {
		if _, err := Resources(bad, Host{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: error %v", bad, err)
		}
	}
	in := input()
	in.Container.Linux.Resources.OomScoreAdj = -998
	floor := -500
	in.Host.MinOOMScoreAdj = &floor
	if s := mustSpec(t, in); *s.Process.OOMScoreAdj != -500 {
		t.Errorf("oom_score_adj %d", *s.Process.OOMScoreAdj)
	}
}

func TestExec(t *testing.T) {
	in := input()
	in.Container.Envs = []*runtimeapi.KeyValue{{Key: "A", Value: []byte{0xff}}}
	s := mustSpec(t, in)
	p, err := Exec(s, []string{"sh", "-c", "x"}, true)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Terminal || len(p.Args) != 3 || !slices.Contains(p.Env, "A=\xff") || !slices.Contains(p.Env, "TERM=xterm") || p.Cwd != "/" {
		t.Errorf("%+v", p)
	}
	if s.Process.Terminal || s.Process.Args[0] != "/app" || slices.Contains(s.Process.Env, "TERM=xterm") {
		t.Error("the container's process was changed")
	}
	for _, bad := range [][]string{nil, {""}, {"a\x00"}} {
		if _, err := Exec(s, bad, false); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}
