package server

import (
	"context"
	"encoding/json"
	"slices"

	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
)

// ContainerStatus describes one container.
func (s *runtimeService) ContainerStatus(_ context.Context, req *cri.ContainerStatusRequest) (*cri.ContainerStatusResponse, error) {
	c, err := s.pods.Container(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	resp := &cri.ContainerStatusResponse{Status: containerStatus(c)}
	if req.GetVerbose() {
		resp.Info, err = s.containerInfo(c)
	}
	return resp, err
}

func containerState(c *sandbox.Container) cri.ContainerState {
	switch c.State {
	case sandbox.Created:
		return cri.ContainerState_CONTAINER_CREATED
	case sandbox.Running:
		return cri.ContainerState_CONTAINER_RUNNING
	case sandbox.Exited:
		return cri.ContainerState_CONTAINER_EXITED
	}
	return cri.ContainerState_CONTAINER_UNKNOWN
}

func containerItem(c *sandbox.Container) *cri.Container {
	return &cri.Container{
		Id:           c.ID,
		PodSandboxId: c.PodID,
		Metadata:     c.Config.GetMetadata(),
		Image:        givenImage(c),
		ImageRef:     c.ImageRef,
		ImageId:      c.ImageID,
		State:        containerState(c),
		CreatedAt:    nanos(c.CreatedAt),
		Labels:       c.Config.GetLabels(),
		Annotations:  c.Config.GetAnnotations(),
	}
}

func containerStatus(c *sandbox.Container) *cri.ContainerStatus {
	st := &cri.ContainerStatus{
		Id:          c.ID,
		Metadata:    c.Config.GetMetadata(),
		State:       containerState(c),
		CreatedAt:   nanos(c.CreatedAt),
		StartedAt:   nanos(c.StartedAt),
		FinishedAt:  nanos(c.FinishedAt),
		ExitCode:    c.ExitCode,
		Image:       givenImage(c),
		ImageRef:    c.ImageRef,
		ImageId:     c.ImageID,
		Reason:      c.Reason,
		Message:     c.Message,
		Labels:      c.Config.GetLabels(),
		Annotations: c.Config.GetAnnotations(),
		Mounts:      statusMounts(c),
		LogPath:     c.LogPath,
		StopSignal:  c.StopSignal,
	}
	if c.Resources != nil {
		st.Resources = &cri.ContainerResources{Linux: c.Resources}
	}
	if c.User != nil {
		st.User = &cri.ContainerUser{Linux: c.User}
	}
	return st
}

// statusMounts are the mounts as requested, but for images that are volumes: a
// kubelet looks for their ids when it removes images that nobody uses.
func statusMounts(c *sandbox.Container) []*cri.Mount {
	mounts := c.Config.GetMounts()
	if len(c.VolumeImages) == 0 {
		return mounts
	}
	mounts = slices.Clone(mounts)
	for i, m := range mounts {
		id, ok := c.VolumeImages[m.GetContainerPath()]
		if !ok || m.GetImage() == nil {
			continue
		}
		mounts[i] = proto.Clone(m).(*cri.Mount)
		mounts[i].Image.Image = id
	}
	return mounts
}

// givenImage is the image as its user wrote it. The kubelet creates containers
// by id and keeps what the pod says in user_specified_image.
func givenImage(c *sandbox.Container) *cri.ImageSpec {
	asked := c.Config.GetImage()
	given := asked.GetUserSpecifiedImage()
	if given == "" || given == asked.GetImage() {
		return asked
	}
	return &cri.ImageSpec{
		Image:              given,
		Annotations:        asked.GetAnnotations(),
		UserSpecifiedImage: given,
		RuntimeHandler:     asked.GetRuntimeHandler(),
		ImageRef:           asked.GetImageRef(),
	}
}

// containerVerbose is what `crictl inspect` shows under "info". Names are those
// that users of other runtimes know.
type containerVerbose struct {
	SandboxID   string               `json:"sandboxID"`
	Pid         int                  `json:"pid"` // on the host; 0 when it does not run
	Config      *cri.ContainerConfig `json:"config"`
	RuntimeSpec json.RawMessage      `json:"runtimeSpec,omitempty"`
}

func (s *runtimeService) containerInfo(c *sandbox.Container) (map[string]string, error) {
	spec, err := s.pods.Spec(c.ID)
	if err != nil {
		return nil, err
	}
	return info(map[string]any{"info": containerVerbose{
		SandboxID:   c.PodID,
		Pid:         c.Pid,
		Config:      c.Config,
		RuntimeSpec: spec,
	}})
}
