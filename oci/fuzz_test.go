package oci

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// FuzzContainer feeds requests as they come over the wire: whatever is granted
// keeps to paths of its own and to the privileges that were asked for.
func FuzzContainer(f *testing.F) {
	seed := func(change func(in *ContainerInput, sc *runtimeapi.LinuxContainerSecurityContext)) {
		in := input()
		change(&in, in.Container.Linux.SecurityContext)
		c, err := proto.Marshal(in.Container)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(c, in.Image.User, in.Image.WorkingDir, "/data")
	}
	seed(func(*ContainerInput, *runtimeapi.LinuxContainerSecurityContext) {})
	seed(func(in *ContainerInput, sc *runtimeapi.LinuxContainerSecurityContext) {
		sc.Privileged = true
		in.Container.Mounts = []*runtimeapi.Mount{{ContainerPath: "../a/../../proc", HostPath: "/b/.."}}
		in.Container.Devices = []*runtimeapi.Device{{ContainerPath: "/dev/x", HostPath: "/dev/snd"}}
		sc.Capabilities = &runtimeapi.Capability{AddCapabilities: []string{"ALL"}, AddAmbientCapabilities: []string{"ALL"}}
		in.Image.User, in.Image.WorkingDir = "4294967296", "/proc/self/fd/7"
	})
	f.Fuzz(func(t *testing.T, request []byte, user, dir, volume string) {
		in := input()
		in.Container = &runtimeapi.ContainerConfig{}
		if proto.Unmarshal(request, in.Container) != nil {
			return
		}
		in.Image = ImageConfig{User: user, WorkingDir: dir, Volumes: map[string]struct{}{volume: {}}, Cmd: []string{"sh"}}
		req, err := UserOf(in.Container, in.Image)
		if err != nil {
			return
		}
		if in.User, err = LookupUser(strings.NewReader(hostilePasswd), strings.NewReader(hostileGroup), req); err != nil {
			return
		}
		paths, err := VolumePaths(in.Image, in.Container)
		if err != nil {
			return
		}
		for _, p := range paths {
			in.Volumes = append(in.Volumes, Volume{Source: "/v", Destination: p})
		}
		if _, err := StopSignal(in.Container, in.Image); err != nil {
			return
		}
		s, err := Container(in)
		if err != nil {
			return
		}
		checkInvariants(t, in, s)
	})
}

func checkInvariants(t *testing.T, in ContainerInput, s *specs.Spec) {
	t.Helper()
	sc := in.Container.GetLinux().GetSecurityContext()
	clean := func(what, p string) {
		if !path.IsAbs(p) || path.Clean(p) != p || strings.ContainsRune(p, 0) {
			t.Errorf("%s %q", what, p)
		}
	}
	clean("cwd", s.Process.Cwd)
	for _, m := range s.Mounts {
		clean("destination", m.Destination)
		if m.Type == "bind" {
			clean("source", m.Source)
		}
		if m.Type != "proc" && m.Destination == "/proc" && m.Source != "/proc" || strings.HasPrefix(m.Destination, "/proc/self") {
			t.Errorf("mount %+v", m)
		}
	}
	for _, d := range s.Linux.Devices {
		clean("device", d.Path)
	}
	for _, str := range slices.Concat(s.Process.Args, s.Process.Env) {
		if strings.ContainsRune(str, 0) {
			t.Errorf("NUL in %q", str)
		}
	}
	if s.Process.User.UID > maxID || s.Process.User.GID > maxID {
		t.Errorf("user %+v", s.Process.User)
	}
	for _, c := range slices.Concat(s.Process.Capabilities.Bounding, s.Process.Capabilities.Ambient, s.Process.Capabilities.Inheritable) {
		if !slices.Contains(in.Host.Capabilities, c) {
			t.Errorf("%s is not the runtime's to give", c)
		}
	}
	asked := sc.GetPrivileged() || len(sc.GetCapabilities().GetAddCapabilities())+len(sc.GetCapabilities().GetAddAmbientCapabilities()) > 0
	if !asked {
		for _, c := range s.Process.Capabilities.Bounding {
			if !slices.Contains(defaultCapabilities, c) {
				t.Errorf("%s was not asked for", c)
			}
		}
	}
	if !sc.GetPrivileged() {
		if first := s.Linux.Resources.Devices[0]; first.Allow || first.Access != "rwm" {
			t.Errorf("first device rule %+v", first)
		}
		if len(in.Container.GetDevices()) == 0 && len(s.Linux.Devices) > 0 {
			t.Errorf("devices %v", s.Linux.Devices)
		}
		if kind := sc.GetSeccomp(); kind != nil && kind.GetProfileType() != runtimeapi.SecurityProfile_Unconfined && s.Linux.Seccomp == nil {
			t.Error("a profile was asked for and is missing")
		}
	}
	if sc.GetNoNewPrivs() != s.Process.NoNewPrivileges || sc.GetReadonlyRootfs() != s.Root.Readonly {
		t.Error("no_new_privs or readonly_rootfs differs")
	}
}
