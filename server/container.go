package server

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
)

// CreateContainer makes a container ready to be started.
func (s *runtimeService) CreateContainer(ctx context.Context, req *cri.CreateContainerRequest) (*cri.CreateContainerResponse, error) {
	if req.GetConfig() == nil {
		return nil, fmt.Errorf("create container: the request has no config: %w", sandbox.ErrInvalid)
	}
	id, err := s.pods.CreateContainer(ctx, req.GetPodSandboxId(), req.GetConfig(), req.GetSandboxConfig())
	if err != nil {
		return nil, err
	}
	return &cri.CreateContainerResponse{ContainerId: id}, nil
}

// StartContainer runs a container's process.
func (s *runtimeService) StartContainer(ctx context.Context, req *cri.StartContainerRequest) (*cri.StartContainerResponse, error) {
	return &cri.StartContainerResponse{}, s.pods.StartContainer(ctx, req.GetContainerId())
}

// StopContainer ends a container's processes, with a grace in seconds.
func (s *runtimeService) StopContainer(ctx context.Context, req *cri.StopContainerRequest) (*cri.StopContainerResponse, error) {
	grace, err := seconds(req.GetTimeout())
	if err != nil {
		return nil, fmt.Errorf("stop container %q: timeout: %w", req.GetContainerId(), err)
	}
	return &cri.StopContainerResponse{}, s.pods.StopContainer(ctx, req.GetContainerId(), grace)
}

// RemoveContainer takes a container away, by force if it runs. Its log stays:
// that is the kubelet's.
func (s *runtimeService) RemoveContainer(ctx context.Context, req *cri.RemoveContainerRequest) (*cri.RemoveContainerResponse, error) {
	return &cri.RemoveContainerResponse{}, s.pods.RemoveContainer(ctx, req.GetContainerId())
}

// ListContainers lists the containers that match a filter.
func (s *runtimeService) ListContainers(_ context.Context, req *cri.ListContainersRequest) (*cri.ListContainersResponse, error) {
	match, err := containerFilter(req.GetFilter())
	if err != nil {
		return nil, err
	}
	resp := &cri.ListContainersResponse{}
	return resp, s.containerItems.response(resp, s.pods.Containers(), match, func(c *sandbox.Container) proto.Message { return containerItem(c) })
}

func (s *runtimeService) listContainers(f *cri.ContainerFilter) ([]*cri.Container, error) {
	match, err := containerFilter(f)
	if err != nil {
		return nil, err
	}
	var items []*cri.Container
	for _, c := range s.pods.Containers() {
		if match(c) {
			items = append(items, containerItem(c))
		}
	}
	return items, nil
}

// UpdateContainerResources changes limits; what the request leaves unset stays.
func (s *runtimeService) UpdateContainerResources(ctx context.Context, req *cri.UpdateContainerResourcesRequest) (*cri.UpdateContainerResourcesResponse, error) {
	if req.GetWindows() != nil {
		return nil, fmt.Errorf("update container %q: windows: this is Linux: %w", req.GetContainerId(), sandbox.ErrInvalid)
	}
	if req.GetLinux() == nil {
		return nil, fmt.Errorf("update container %q: the request has no linux resources: %w", req.GetContainerId(), sandbox.ErrInvalid)
	}
	return &cri.UpdateContainerResourcesResponse{}, s.pods.UpdateResources(ctx, req.GetContainerId(), req.GetLinux())
}

// ReopenContainerLog goes on in a new file after the kubelet renamed the log.
func (s *runtimeService) ReopenContainerLog(ctx context.Context, req *cri.ReopenContainerLogRequest) (*cri.ReopenContainerLogResponse, error) {
	return &cri.ReopenContainerLogResponse{}, s.pods.ReopenLog(ctx, req.GetContainerId())
}

// ExecSync runs a command in a container and returns what it printed.
func (s *runtimeService) ExecSync(ctx context.Context, req *cri.ExecSyncRequest) (*cri.ExecSyncResponse, error) {
	timeout, err := seconds(req.GetTimeout())
	if err != nil {
		return nil, fmt.Errorf("exec in container %q: timeout: %w", req.GetContainerId(), err)
	}
	if len(req.GetCmd()) == 0 {
		return nil, fmt.Errorf("exec in container %q: no command given: %w", req.GetContainerId(), sandbox.ErrInvalid)
	}
	r, err := s.pods.ExecSync(ctx, req.GetContainerId(), req.GetCmd(), timeout)
	if err != nil {
		return nil, err
	}
	return &cri.ExecSyncResponse{Stdout: r.Stdout, Stderr: r.Stderr, ExitCode: r.Code}, nil
}
