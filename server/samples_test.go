package server

import (
	"encoding/json"
	"net/netip"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/imagestore"
	"slipway/sandbox"
)

var (
	at = time.Unix(1700000000, 123456789)

	podA = strings.Repeat("a1", 32)
	podB = strings.Repeat("b2", 32)
	ctrA = strings.Repeat("c3", 32)
	ctrB = strings.Repeat("d4", 32)
	imgA = "sha256:" + strings.Repeat("e5", 32)
)

func samplePod(id string, ready bool) *sandbox.Pod {
	return &sandbox.Pod{
		ID: id,
		Config: &cri.PodSandboxConfig{
			Metadata:    &cri.PodSandboxMetadata{Name: "web", Uid: "u1", Namespace: "default", Attempt: 2},
			Labels:      map[string]string{"app": "web", "tier": "front"},
			Annotations: map[string]string{"hash": "=\n odd \t"},
			Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{
				NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER, Ipc: cri.NamespaceMode_NODE},
			}},
		},
		Handler:   "",
		CreatedAt: at,
		Ready:     ready,
		IPs:       []netip.Addr{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("fd00::3")},
		NetNS:     "/run/netns/slipway-" + id,
		CNIResult: json.RawMessage(`{"cniVersion":"1.0.0"}`),
		Pid:       0,
	}
}

func sampleContainer(id, pod string, state sandbox.State) *sandbox.Container {
	c := &sandbox.Container{
		ID: id, PodID: pod,
		Config: &cri.ContainerConfig{
			Metadata:    &cri.ContainerMetadata{Name: "main", Attempt: 1},
			Image:       &cri.ImageSpec{Image: imgA, UserSpecifiedImage: "web:1"},
			Labels:      map[string]string{"app": "web"},
			Annotations: map[string]string{"io.kubernetes.container.hash": "beef"},
			Mounts:      []*cri.Mount{{ContainerPath: "/dev/termination-log", HostPath: "/var/lib/kubelet/pods/u1/term"}},
			LogPath:     "main/1.log",
		},
		ImageID: imgA, ImageRef: "localhost:5000/web@sha256:77",
		State: state, CreatedAt: at,
		LogPath:    "/var/log/pods/default_web_u1/main/1.log",
		User:       &cri.LinuxContainerUser{Uid: 1000, Gid: 100, SupplementalGroups: []int64{100, 2000}},
		Resources:  &cri.LinuxContainerResources{CpuShares: 512, MemoryLimitInBytes: 64 << 20},
		StopSignal: cri.Signal_SIGNAL_SIGTERM,
	}
	if state != sandbox.Created {
		c.StartedAt = at.Add(time.Second)
	}
	switch state {
	case sandbox.Running:
		c.Pid = 4711
	case sandbox.Exited:
		c.FinishedAt, c.ExitCode = at.Add(time.Minute), 137
		c.Reason, c.Message = sandbox.ReasonOOMKilled, "limit 64 MiB"
	}
	return c
}

func sampleImage() imagestore.Image {
	return imagestore.Image{
		ID:      imgA,
		Tags:    []string{"localhost:5000/web:1"},
		Digests: []string{"localhost:5000/web@sha256:77"},
		Size:    12345,
		Config:  ocispec.Image{Config: ocispec.ImageConfig{User: "1000:100", Entrypoint: []string{"/web"}}},
		Pinned:  true,
	}
}
