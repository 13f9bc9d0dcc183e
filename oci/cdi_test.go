package oci

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	cdi "tags.cncf.io/container-device-interface/specs-go"
)

func TestCDIDevices(t *testing.T) {
	c := &runtimeapi.ContainerConfig{
		CDIDevices: []*runtimeapi.CDIDevice{{Name: "v.com/net=b"}, {Name: "v.com/net=a"}, {Name: "v.com/net=b"}},
		Annotations: map[string]string{
			"cdi.k8s.io/z":    "v.com/gpu=1",
			"cdi.k8s.io/gpus": "v.com/gpu=0,v.com/net=a",
			"other":           "not, a device",
		},
	}
	got, err := CDIDevices(c)
	if want := []string{"v.com/net=b", "v.com/net=a", "v.com/gpu=0", "v.com/gpu=1"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	for _, bad := range []string{"", "gpu0", "/dev/gpu0", "v.com/gpu", "v.com/gpu=", "v.com=0", "v.com/gpu=../0", "v.com/g u=0"} {
		for _, c := range []*runtimeapi.ContainerConfig{
			{CDIDevices: []*runtimeapi.CDIDevice{{Name: bad}}},
			{Annotations: map[string]string{"cdi.k8s.io/x": "v.com/gpu=0," + bad}},
		} {
			if got, err := CDIDevices(c); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "is no CDI device") {
				t.Errorf("%q: %q, %v", bad, got, err)
			}
		}
	}
}

// withCDI is a request for a device that brings edits.
func withCDI(edits ...cdi.ContainerEdits) ContainerInput {
	in := input()
	in.Container.CDIDevices = []*runtimeapi.CDIDevice{{Name: "v.com/gpu=0"}}
	for _, e := range edits {
		in.CDI = append(in.CDI, DeviceEdits{From: "device \"v.com/gpu=0\"", Edits: e})
	}
	return in
}

func TestCDIEdits(t *testing.T) {
	mode := os.FileMode(0o600)
	gid := uint32(44)
	in := withCDI(
		cdi.ContainerEdits{Env: []string{"GPU=0", "A=spec"}, AdditionalGIDs: []uint32{0, 44, 7}},
		cdi.ContainerEdits{
			Env: []string{"A=device"},
			DeviceNodes: []*cdi.DeviceNode{
				{Path: "/dev/gpu", HostPath: "/dev/fuse", Permissions: "rw", FileMode: &mode, GID: &gid},
				{Path: "/dev/kvm", Permissions: "none"},
				{Path: "/dev/absent", Type: "b", Major: 7, Minor: 3},
				{Path: "/run/pipe", Type: "p"},
			},
			Mounts: []*cdi.Mount{
				{HostPath: "/usr/lib/gpu.so", ContainerPath: "/usr/lib/gpu.so", Options: []string{"ro", "nosuid", "nodev", "bind"}},
				{HostPath: "/run/gpu/", ContainerPath: "/run/gpu", Options: []string{"rslave"}},
				{HostPath: "/etc/other", ContainerPath: "/etc/hosts"},
			},
		},
	)
	in.User = User{UID: 1000, GID: 100, Groups: []uint32{7}}
	in.Container.Envs = []*runtimeapi.KeyValue{{Key: "A", Value: []byte("request")}}
	s := mustSpec(t, in)

	for _, want := range []string{"GPU=0", "A=device"} {
		if !slices.Contains(s.Process.Env, want) {
			t.Errorf("no %s in %q", want, s.Process.Env)
		}
	}
	if RestoreEnv(s, in.Container); !slices.Contains(s.Process.Env, "A=device") {
		t.Errorf("the request has it back: %q", s.Process.Env)
	}
	if want := []uint32{7, 44}; !slices.Equal(s.Process.User.AdditionalGids, want) {
		t.Errorf("groups %v, want %v", s.Process.User.AdditionalGids, want)
	}
	hostMode, uid, main := os.FileMode(0o660), uint32(1000), uint32(100)
	devices := []specs.LinuxDevice{
		{Path: "/dev/gpu", Type: "c", Major: 10, Minor: 229, FileMode: &mode, UID: &uid, GID: &gid},
		{Path: "/dev/kvm", Type: "c", Major: 10, Minor: 232, FileMode: &hostMode, UID: &uid, GID: &main},
		{Path: "/dev/absent", Type: "b", Major: 7, Minor: 3, UID: &uid, GID: &main},
		{Path: "/run/pipe", Type: "p", UID: &uid, GID: &main},
	}
	if d := cmp.Diff(devices, s.Linux.Devices); d != "" {
		t.Error(d)
	}
	rules := s.Linux.Resources.Devices[len(baseRules()):]
	if d := cmp.Diff([]specs.LinuxDeviceCgroup{rule("c", 10, 229, "rw"), rule("b", 7, 3, "rwm")}, rules); d != "" {
		t.Error(d)
	}
	var mounts []specs.Mount
	for _, m := range s.Mounts {
		if strings.Contains(m.Destination, "gpu") || m.Destination == "/etc/hosts" {
			mounts = append(mounts, m)
		}
	}
	want := []specs.Mount{
		{Destination: "/run/gpu", Type: "bind", Source: "/run/gpu", Options: []string{"rbind", "rslave"}},
		{Destination: "/etc/hosts", Type: "bind", Source: "/etc/other", Options: []string{"rbind", "rprivate"}},
		{Destination: "/usr/lib/gpu.so", Type: "bind", Source: "/usr/lib/gpu.so", Options: []string{"bind", "rprivate", "ro", "nosuid", "nodev"}},
	}
	if d := cmp.Diff(want, mounts); d != "" {
		t.Error(d)
	}
	if s.Linux.RootfsPropagation != "rslave" {
		t.Errorf("propagation of the root: %q", s.Linux.RootfsPropagation)
	}
}

// What cannot be done refuses the container, and says for which device.
func TestCDIEditsRefused(t *testing.T) {
	node := func(n cdi.DeviceNode) cdi.ContainerEdits {
		return cdi.ContainerEdits{DeviceNodes: []*cdi.DeviceNode{&n}}
	}
	mount := func(m cdi.Mount) cdi.ContainerEdits {
		return cdi.ContainerEdits{Mounts: []*cdi.Mount{&m}}
	}
	for want, edits := range map[string]cdi.ContainerEdits{
		`the hook "/usr/bin/ldcache" (createContainer)`: {Hooks: []*cdi.Hook{{HookName: "createContainer", Path: "/usr/bin/ldcache"}}},
		`the network interface "eth9"`:                  {NetDevices: []*cdi.LinuxNetDevice{{HostInterfaceName: "eth9", Name: "eth0"}}},
		"Intel RDT":                                     {IntelRdt: &cdi.IntelRdt{ClosID: "x"}},
		"NUL":                                           {Env: []string{"A=\x00"}},
		`env: key ""`:                                   {Env: []string{"=x"}},
		`no device at "/dev/gone"`:                      node(cdi.DeviceNode{Path: "/dev/gone"}),
		`no device at "/dev/snd"`:                       node(cdi.DeviceNode{Path: "/dev/snd"}),
		"not made of r, w and m":                        node(cdi.DeviceNode{Path: "/dev/kvm", Permissions: "x"}),
		"no device can be made at":                      node(cdi.DeviceNode{Path: "/proc/kvm", HostPath: "/dev/kvm"}),
		`"/dev/null" is the runtime's own`:              node(cdi.DeviceNode{Path: "/dev/null", HostPath: "/dev/kvm"}),
		`on the host it is "c"`:                         node(cdi.DeviceNode{Path: "/dev/kvm", Type: "b"}),
		`type "tmpfs": only bind`:                       mount(cdi.Mount{HostPath: "tmpfs", ContainerPath: "/x", Type: "tmpfs"}),
		`"x" is not absolute`:                           mount(cdi.Mount{HostPath: "x", ContainerPath: "/x"}),
		"the root of the container":                     mount(cdi.Mount{HostPath: "/x", ContainerPath: "/a/.."}),
		"mounts below /proc":                            mount(cdi.Mount{HostPath: "/x", ContainerPath: "/proc/self"}),
		`option "idmap" is not supported`:               mount(cdi.Mount{HostPath: "/x", ContainerPath: "/x", Options: []string{"idmap"}}),
	} {
		if _, err := Container(withCDI(edits)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "v.com/gpu=0") {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if _, err := Container(withCDI()); !errors.Is(err, ErrInvalid) {
		t.Errorf("a device that nobody looked for: %v", err)
	}
}

// A handler can keep the host's devices from privileged containers.
func TestWithoutHostDevices(t *testing.T) {
	in := withCDI(cdi.ContainerEdits{DeviceNodes: []*cdi.DeviceNode{{Path: "/dev/kvm"}}})
	in.Container.Linux.SecurityContext.Privileged = true
	everything := []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}

	if s := mustSpec(t, in); len(s.Linux.Devices) < 3 || cmp.Diff(everything, s.Linux.Resources.Devices) != "" {
		t.Errorf("%v\n%v", s.Linux.Devices, s.Linux.Resources.Devices)
	}
	in.Host.WithoutDevices = true
	s := mustSpec(t, in)
	if len(s.Linux.Devices) != 1 || cmp.Diff(append(baseRules(), rule("c", 10, 232, "rwm")), s.Linux.Resources.Devices) != "" {
		t.Errorf("%v\n%v", s.Linux.Devices, s.Linux.Resources.Devices)
	}
	in.Host.AnyDevice = true
	s = mustSpec(t, in)
	if len(s.Linux.Devices) != 1 || cmp.Diff(everything, s.Linux.Resources.Devices) != "" {
		t.Errorf("%v\n%v", s.Linux.Devices, s.Linux.Resources.Devices)
	}
}

// A handler's profile stands for RuntimeDefault, and only for it.
func TestRuntimeDefaultOfAHandler(t *testing.T) {
	in := input()
	sc := in.Container.Linux.SecurityContext
	read := errors.New("it is gone")
	in.Host.RuntimeDefault = func() ([]byte, error) { return nil, read }
	mustSpec(t, in) // asks for nothing
	sc.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
	if _, err := Container(in); !errors.Is(err, ErrInvalid) || !errors.Is(err, read) {
		t.Errorf("error %v", err)
	}
	in.Host.RuntimeDefault = func() ([]byte, error) { return []byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`), nil }
	if s := mustSpec(t, in); s.Linux.Seccomp.DefaultAction != specs.ActAllow {
		t.Errorf("%+v", s.Linux.Seccomp)
	}
	in.Host.RuntimeDefault = func() ([]byte, error) { return []byte("{"), nil }
	if _, err := Container(in); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), `"RuntimeDefault"`) {
		t.Errorf("error %v", err)
	}
}
