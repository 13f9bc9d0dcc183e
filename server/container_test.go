package server

import (
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	utilexec "k8s.io/utils/exec"

	"slipway/sandbox"
)

func TestContainerStatus(t *testing.T) {
	base := func() *cri.ContainerStatus {
		return &cri.ContainerStatus{
			Id:          ctrA,
			Metadata:    &cri.ContainerMetadata{Name: "main", Attempt: 1},
			CreatedAt:   1700000000123456789,
			Image:       &cri.ImageSpec{Image: "web:1", UserSpecifiedImage: "web:1"},
			ImageRef:    "localhost:5000/web@sha256:77",
			ImageId:     imgA,
			Labels:      map[string]string{"app": "web"},
			Annotations: map[string]string{"io.kubernetes.container.hash": "beef"},
			Mounts:      []*cri.Mount{{ContainerPath: "/dev/termination-log", HostPath: "/var/lib/kubelet/pods/u1/term"}},
			LogPath:     "/var/log/pods/default_web_u1/main/1.log",
			Resources:   &cri.ContainerResources{Linux: &cri.LinuxContainerResources{CpuShares: 512, MemoryLimitInBytes: 64 << 20}},
			User:        &cri.ContainerUser{Linux: &cri.LinuxContainerUser{Uid: 1000, Gid: 100, SupplementalGroups: []int64{100, 2000}}},
			StopSignal:  cri.Signal_SIGNAL_SIGTERM,
		}
	}
	created, running, exited := base(), base(), base()
	created.State = cri.ContainerState_CONTAINER_CREATED
	running.State, running.StartedAt = cri.ContainerState_CONTAINER_RUNNING, 1700000001123456789
	exited.State, exited.StartedAt, exited.FinishedAt = cri.ContainerState_CONTAINER_EXITED, 1700000001123456789, 1700000060123456789
	exited.ExitCode, exited.Reason, exited.Message = 137, "OOMKilled", "limit 64 MiB"

	for state, want := range map[sandbox.State]*cri.ContainerStatus{
		sandbox.Created: created, sandbox.Running: running, sandbox.Exited: exited,
	} {
		s := serve(t, &fakePods{containers: []*sandbox.Container{sampleContainer(ctrA, podA, state)}}, &fakeImages{})
		got, err := s.runtime.ContainerStatus(s.ctx, ctrA, false)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(&cri.ContainerStatusResponse{Status: want}, got, protocmp.Transform()); d != "" {
			t.Errorf("state %v: %s", state, d)
		}
	}
}

func TestContainerItem(t *testing.T) {
	want := &cri.Container{
		Id:           ctrA,
		PodSandboxId: podA,
		Metadata:     &cri.ContainerMetadata{Name: "main", Attempt: 1},
		Image:        &cri.ImageSpec{Image: "web:1", UserSpecifiedImage: "web:1"},
		ImageRef:     "localhost:5000/web@sha256:77",
		ImageId:      imgA,
		State:        cri.ContainerState_CONTAINER_RUNNING,
		CreatedAt:    1700000000123456789,
		Labels:       map[string]string{"app": "web"},
		Annotations:  map[string]string{"io.kubernetes.container.hash": "beef"},
	}
	if d := cmp.Diff(want, containerItem(sampleContainer(ctrA, podA, sandbox.Running)), protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

func TestGivenImage(t *testing.T) {
	for _, tt := range []struct{ image, user, want string }{
		{"busybox", "", "busybox"},
		{imgA, "busybox:1", "busybox:1"},
		{"busybox", "busybox", "busybox"},
	} {
		c := &sandbox.Container{Config: &cri.ContainerConfig{Image: &cri.ImageSpec{Image: tt.image, UserSpecifiedImage: tt.user}}}
		if got := givenImage(c).GetImage(); got != tt.want {
			t.Errorf("created with %q for %q: shown as %q, want %q", tt.image, tt.user, got, tt.want)
		}
		if c.Config.Image.Image != tt.image {
			t.Errorf("the snapshot's config was changed to %q", c.Config.Image.Image)
		}
	}
}

func TestContainerVerbose(t *testing.T) {
	pods := &fakePods{
		containers: []*sandbox.Container{sampleContainer(ctrA, podA, sandbox.Running)},
		spec:       json.RawMessage(`{"ociVersion":"1.2.0","process":{"args":["/web"]}}`),
	}
	s := serve(t, pods, &fakeImages{})
	resp, err := s.runtime.ContainerStatus(s.ctx, ctrA, true)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		SandboxID   string
		Pid         int
		Config      struct{ Metadata struct{ Name string } }
		RuntimeSpec struct{ Process struct{ Args []string } }
	}
	if err := json.Unmarshal([]byte(resp.GetInfo()["info"]), &got); err != nil {
		t.Fatal(err)
	}
	if got.SandboxID != podA || got.Pid != 4711 || got.Config.Metadata.Name != "main" || len(got.RuntimeSpec.Process.Args) != 1 {
		t.Errorf("info is %s", resp.GetInfo()["info"])
	}
}

func TestContainerOperations(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{})
	c := sampleContainer(ctrA, podA, sandbox.Created)
	id, err := s.runtime.CreateContainer(s.ctx, "p", c.Config, samplePod(podA, true).Config)
	if err != nil || id != "newcontainer" {
		t.Errorf("CreateContainer: %q, %v", id, err)
	}
	err = errors.Join(
		s.runtime.StartContainer(s.ctx, "c"),
		s.runtime.StopContainer(s.ctx, "c", 30),
		s.runtime.RemoveContainer(s.ctx, "c"),
		s.runtime.ReopenContainerLog(s.ctx, "c"),
		s.runtime.UpdateContainerResources(s.ctx, "c", &cri.ContainerResources{Linux: &cri.LinuxContainerResources{MemoryLimitInBytes: 7}}),
	)
	if err != nil {
		t.Error(err)
	}
	want := []string{
		"CreateContainer p main", "StartContainer c", "StopContainer c 30s",
		"RemoveContainer c", "ReopenLog c", "UpdateResources c 7",
	}
	if d := cmp.Diff(want, s.pods.calls); d != "" {
		t.Error(d)
	}
}

func TestExecSync(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{})
	stdout, stderr, err := s.runtime.ExecSync(s.ctx, "c", []string{"ls", "-l"}, 5*time.Second)
	var exit utilexec.ExitError
	if !errors.As(err, &exit) || exit.ExitStatus() != 3 || string(stdout) != "out" || string(stderr) != "err" {
		t.Errorf("ExecSync: %q, %q, %v; want exit code 3", stdout, stderr, err)
	}
	if d := cmp.Diff([]string{"ExecSync c [ls -l] 5s"}, s.pods.calls); d != "" {
		t.Error(d)
	}
}

func TestRefusedRequests(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{})
	client := cri.NewRuntimeServiceClient(s.conn)
	for name, call := range map[string]func() error{
		"run without config": func() error { _, err := client.RunPodSandbox(s.ctx, &cri.RunPodSandboxRequest{}); return err },
		"create without config": func() error {
			_, err := client.CreateContainer(s.ctx, &cri.CreateContainerRequest{PodSandboxId: "p"})
			return err
		},
		"exec of nothing": func() error { _, err := client.ExecSync(s.ctx, &cri.ExecSyncRequest{ContainerId: "c"}); return err },
		"negative exec timeout": func() error {
			_, err := client.ExecSync(s.ctx, &cri.ExecSyncRequest{ContainerId: "c", Cmd: []string{"x"}, Timeout: -1})
			return err
		},
		"negative stop timeout": func() error {
			_, err := client.StopContainer(s.ctx, &cri.StopContainerRequest{ContainerId: "c", Timeout: -1})
			return err
		},
		"update of nothing": func() error {
			_, err := client.UpdateContainerResources(s.ctx, &cri.UpdateContainerResourcesRequest{ContainerId: "c"})
			return err
		},
	} {
		if err := call(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v, want InvalidArgument", name, err)
		}
	}
	if len(s.pods.calls) != 0 {
		t.Errorf("a refused request got through: %v", s.pods.calls)
	}
}

func TestSeconds(t *testing.T) {
	for n, want := range map[int64]time.Duration{0: 0, 30: 30 * time.Second, math.MaxInt64: math.MaxInt64} {
		if got, err := seconds(n); got != want || err != nil {
			t.Errorf("seconds(%d) = %v, %v; want %v", n, got, err, want)
		}
	}
}

func TestListContainers(t *testing.T) {
	for _, streaming := range []bool{false, true} {
		all := []*sandbox.Container{
			sampleContainer(ctrA, podA, sandbox.Running),
			sampleContainer(ctrB, podB, sandbox.Exited),
		}
		s := serveStreaming(t, &fakePods{containers: all}, &fakeImages{}, streaming)
		for _, tt := range []struct {
			name   string
			filter *cri.ContainerFilter
			want   []string
		}{
			{"no filter", nil, []string{ctrA, ctrB}},
			{"id prefix", &cri.ContainerFilter{Id: "d4"}, []string{ctrB}},
			{"pod prefix", &cri.ContainerFilter{PodSandboxId: "a1"}, []string{ctrA}},
			{"state", &cri.ContainerFilter{State: &cri.ContainerStateValue{State: cri.ContainerState_CONTAINER_EXITED}}, []string{ctrB}},
			{"created is a state too", &cri.ContainerFilter{State: &cri.ContainerStateValue{State: cri.ContainerState_CONTAINER_CREATED}}, nil},
			{"label", &cri.ContainerFilter{LabelSelector: map[string]string{"app": "web"}}, []string{ctrA, ctrB}},
			{"other label", &cri.ContainerFilter{LabelSelector: map[string]string{"app": "db"}}, nil},
			{"parts are ANDed", &cri.ContainerFilter{Id: ctrA, PodSandboxId: podB}, nil},
		} {
			items, err := s.runtime.ListContainers(s.ctx, tt.filter)
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			var got []string
			for _, c := range items {
				got = append(got, c.GetId())
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("%s, streaming=%v: %s", tt.name, streaming, d)
			}
		}
	}
}

func TestInParts(t *testing.T) {
	for _, n := range []int{0, 1, perMessage, perMessage + 1, 3*perMessage - 1} {
		items := make([]int, n)
		for i := range items {
			items[i] = i
		}
		var got []int
		err := inParts(items, func(part []int) error {
			if len(part) == 0 {
				t.Errorf("%d items: an empty message", n)
			}
			got = append(got, part...)
			return nil
		})
		if err != nil || len(got) != n || n > 0 && got[n-1] != n-1 {
			t.Errorf("%d items: %d arrived, %v", n, len(got), err)
		}
	}
}

// A kubelet keeps images that it finds in use by their ids, however they were
// named.
func TestImageVolumesAreShownById(t *testing.T) {
	c := sampleContainer(ctrA, podA, sandbox.Running)
	c.Config.Mounts = append(c.Config.Mounts, &cri.Mount{ContainerPath: "/tool/", Image: &cri.ImageSpec{Image: "tool:1"}, ImageSubPath: "bin"})
	c.VolumeImages = map[string]string{"/tool/": imgA}
	want := []*cri.Mount{
		{ContainerPath: "/dev/termination-log", HostPath: "/var/lib/kubelet/pods/u1/term"},
		{ContainerPath: "/tool/", Image: &cri.ImageSpec{Image: imgA}, ImageSubPath: "bin"},
	}
	if d := cmp.Diff(want, containerStatus(c).GetMounts(), protocmp.Transform()); d != "" {
		t.Error(d)
	}
	if asked := c.Config.Mounts[1].GetImage().GetImage(); asked != "tool:1" {
		t.Errorf("the request was changed: %q", asked)
	}
}
