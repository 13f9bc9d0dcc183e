package oci

import (
	"testing"

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
		specOfFuzzed(t, in)
	})
}
