package oci

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func users(host, length uint32) *runtimeapi.UserNamespace {
	m := []*runtimeapi.IDMapping{{HostId: host, Length: length}}
	return &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD, Uids: m, Gids: m}
}

// inUsers is a container in a pod with a user namespace.
func inUsers() ContainerInput {
	in := input()
	in.Pod.Linux.SecurityContext.NamespaceOptions = &runtimeapi.NamespaceOption{UsernsOptions: users(100000, 65536)}
	return in
}

func TestUserNamespace(t *testing.T) {
	in := inUsers()
	own := []*runtimeapi.IDMapping{{HostId: 5, Length: 7}}
	in.Container.Mounts = []*runtimeapi.Mount{
		{ContainerPath: "/plain", HostPath: "/x"},
		{ContainerPath: "/own", HostPath: "/x", UidMappings: own, GidMappings: own, MountOptions: []string{"noexec", "noatime"}},
		{ContainerPath: "/image", Image: &runtimeapi.ImageSpec{Image: "i"}},
	}
	in.Volumes = []Volume{{Source: "/v", Destination: "/vol"}}
	s := mustSpec(t, in)
	want := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	if !reflect.DeepEqual(s.Linux.UIDMappings, want) || !reflect.DeepEqual(s.Linux.GIDMappings, want) {
		t.Errorf("maps %v, %v", s.Linux.UIDMappings, s.Linux.GIDMappings)
	}
	if n := s.Linux.Namespaces[len(s.Linux.Namespaces)-1]; n.Type != specs.UserNamespace || n.Path != "slipway:p1/user" {
		t.Errorf("namespaces %v", s.Linux.Namespaces)
	}
	for _, m := range s.Mounts {
		var maps []specs.LinuxIDMapping
		switch m.Destination {
		case "/image", "/vol":
			maps = want
		case "/own":
			maps = []specs.LinuxIDMapping{{HostID: 5, Size: 7}}
			if !slices.Contains(m.Options, "noexec") || !slices.Contains(m.Options, "noatime") {
				t.Errorf("options %v", m.Options)
			}
		}
		if !reflect.DeepEqual(m.UIDMappings, maps) || !reflect.DeepEqual(m.GIDMappings, maps) {
			t.Errorf("%s: maps %v, %v, want %v", m.Destination, m.UIDMappings, m.GIDMappings, maps)
		}
	}
	sysctls, err := PodSysctls(in.Pod)
	if err != nil || sysctls["net.ipv4.ping_group_range"] != "0 65535" {
		t.Errorf("sysctls %v, %v", sysctls, err)
	}
}

func TestUserNamespaceRequests(t *testing.T) {
	two := users(1000, 5)
	two.Uids = append(two.Uids, &runtimeapi.IDMapping{ContainerId: 5, HostId: 9000, Length: 5})
	shifted := users(1000, 5)
	shifted.Gids = []*runtimeapi.IDMapping{{ContainerId: 1, HostId: 1, Length: 5}}
	target := users(1000, 5)
	target.Mode = runtimeapi.NamespaceMode_TARGET
	for name, tt := range map[string]struct {
		users *runtimeapi.UserNamespace
		err   string
	}{
		"two mappings": {two, "userns_options: uids: 2 mappings"},
		"none":         {&runtimeapi.UserNamespace{}, "userns_options: uids: 0 mappings"},
		"without root": {shifted, "gids: id 0 of the container has no mapping"},
		"mode":         {target, "mode: TARGET is not possible"},
		"empty":        {users(1000, 0), "of length 0"},
		"beyond":       {users(1<<32-10, 100), "uids: mapping 0:4294967286 of length 100"},
		"node":         {&runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_NODE}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			in := input()
			in.Pod.Linux.SecurityContext.NamespaceOptions = &runtimeapi.NamespaceOption{UsernsOptions: tt.users}
			err := CheckPod(in.Pod)
			if tt.err == "" && err != nil || tt.err != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestUserNamespaceOfContainers(t *testing.T) {
	options := func(in ContainerInput, u *runtimeapi.UserNamespace) {
		in.Container.Linux.SecurityContext.NamespaceOptions = &runtimeapi.NamespaceOption{UsernsOptions: u}
	}
	for name, tt := range map[string]struct {
		change func(*ContainerInput)
		err    string
	}{
		"the same":   {func(in *ContainerInput) { options(*in, users(100000, 65536)) }, ""},
		"left open":  {func(in *ContainerInput) { options(*in, nil) }, ""},
		"another":    {func(in *ContainerInput) { options(*in, users(200000, 65536)) }, "not those of the pod"},
		"the host's": {func(in *ContainerInput) { options(*in, &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_NODE}) }, "not those of the pod"},
		"only the container's": {func(in *ContainerInput) {
			options(*in, users(100000, 65536))
			in.Pod.Linux.SecurityContext.NamespaceOptions = nil
		}, "not those of the pod"},
		"user without mapping":  {func(in *ContainerInput) { in.User.UID = 65536 }, "user 65536 has no mapping"},
		"group without mapping": {func(in *ContainerInput) { in.User.Groups = []uint32{70000} }, "group 70000 has no mapping"},
		"mounts for the host": {func(in *ContainerInput) {
			in.Container.Mounts = []*runtimeapi.Mount{{ContainerPath: "/a", HostPath: "/b", Propagation: runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL}}
		}, "no mount can reach the host"},
	} {
		t.Run(name, func(t *testing.T) {
			in := inUsers()
			tt.change(&in)
			_, err := Container(in)
			if tt.err == "" && err != nil || tt.err != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}
