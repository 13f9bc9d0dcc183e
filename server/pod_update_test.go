package server

import (
	"context"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
)

func TestUpdatePodSandboxResources(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{})
	_, err := s.runtime.UpdatePodSandboxResources(s.ctx, &cri.UpdatePodSandboxResourcesRequest{
		PodSandboxId: "p", Overhead: &cri.LinuxContainerResources{MemoryLimitInBytes: 1}, Resources: &cri.LinuxContainerResources{MemoryLimitInBytes: 2},
	})
	if err != nil || !slices.Equal(s.pods.calls, []string{"UpdatePodResources p 1 2"}) {
		t.Errorf("%v, calls %q", err, s.pods.calls)
	}
	s = serve(t, &fakePods{fail: sandbox.ErrNotFound}, &fakeImages{})
	_, err = s.runtime.UpdatePodSandboxResources(s.ctx, &cri.UpdatePodSandboxResourcesRequest{PodSandboxId: "x"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("of what is gone: %v, want NotFound", err)
	}
}

// The kubelet lays out its own cgroups by this answer.
func TestRuntimeConfigNamesTheDriver(t *testing.T) {
	for systemd, want := range map[bool]cri.CgroupDriver{true: cri.CgroupDriver_SYSTEMD, false: cri.CgroupDriver_CGROUPFS} {
		s := &runtimeService{o: Options{SystemdCgroups: systemd}}
		r, err := s.RuntimeConfig(context.Background(), nil)
		if err != nil || r.GetLinux().GetCgroupDriver() != want {
			t.Errorf("systemd %v: %v, %v", systemd, r, err)
		}
	}
}
