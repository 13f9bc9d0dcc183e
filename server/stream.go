package server

import (
	"slices"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// perMessage is how many objects go into one message of a streamed list: far
// below the 16 MiB that a client accepts, whatever their labels.
const perMessage = 100

// StreamPodSandboxes is ListPodSandbox in parts.
func (s *runtimeService) StreamPodSandboxes(req *cri.StreamPodSandboxesRequest, out grpc.ServerStreamingServer[cri.StreamPodSandboxesResponse]) error {
	items, err := s.listPods(req.GetFilter())
	if err != nil {
		return err
	}
	return inParts(items, func(part []*cri.PodSandbox) error {
		return out.Send(&cri.StreamPodSandboxesResponse{PodSandboxes: part})
	})
}

// StreamContainers is ListContainers in parts.
func (s *runtimeService) StreamContainers(req *cri.StreamContainersRequest, out grpc.ServerStreamingServer[cri.StreamContainersResponse]) error {
	items, err := s.listContainers(req.GetFilter())
	if err != nil {
		return err
	}
	return inParts(items, func(part []*cri.Container) error {
		return out.Send(&cri.StreamContainersResponse{Containers: part})
	})
}

// StreamImages is ListImages in parts.
func (s *imageService) StreamImages(req *cri.StreamImagesRequest, out grpc.ServerStreamingServer[cri.StreamImagesResponse]) error {
	images, err := s.list(req.GetFilter())
	if err != nil {
		return err
	}
	return inParts(images, func(part []*cri.Image) error {
		return out.Send(&cri.StreamImagesResponse{Images: part})
	})
}

// inParts sends all items, none twice and no empty part.
func inParts[T any](items []T, send func([]T) error) error {
	for part := range slices.Chunk(items, perMessage) {
		if err := send(part); err != nil {
			return err
		}
	}
	return nil
}
