package server

import (
	"context"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
)

// GetContainerEvents sends what becomes of pods and containers, from the moment
// on at which the client gets the header of the stream. A client that reads too
// slowly is cut off with ResourceExhausted; when the server stops the stream
// just ends.
func (s *runtimeService) GetContainerEvents(_ *cri.GetEventsRequest, out grpc.ServerStreamingServer[cri.ContainerEventResponse]) error {
	sub := s.pods.Subscribe()
	defer sub.Close()
	if err := out.SendHeader(nil); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(out.Context())
	defer cancel()
	// Send waits for a client that does not read: who cuts it off cannot be the
	// one who sends. gRPC ends a waiting Send with the stream.
	sent := make(chan error, 1)
	go func() { sent <- sendEvents(ctx, sub, out) }()
	select {
	case err := <-sent:
		if out.Context().Err() != nil {
			return nil // the client has heard enough
		}
		return err
	case <-sub.Cut():
		return sub.Err()
	case <-s.stopping:
		return nil
	}
}

func sendEvents(ctx context.Context, sub *sandbox.Subscription, out grpc.ServerStreamingServer[cri.ContainerEventResponse]) error {
	for {
		e, err := sub.Next(ctx)
		if err != nil {
			return err
		}
		if err := out.Send(eventItem(e)); err != nil {
			return err
		}
	}
}

// eventTypes are the CRI's names of our events; a pod's own are among them.
var eventTypes = map[sandbox.EventKind]cri.ContainerEventType{
	sandbox.EventCreated: cri.ContainerEventType_CONTAINER_CREATED_EVENT,
	sandbox.EventStarted: cri.ContainerEventType_CONTAINER_STARTED_EVENT,
	sandbox.EventStopped: cri.ContainerEventType_CONTAINER_STOPPED_EVENT,
	sandbox.EventDeleted: cri.ContainerEventType_CONTAINER_DELETED_EVENT,
}

func eventItem(e sandbox.Event) *cri.ContainerEventResponse {
	return &cri.ContainerEventResponse{
		ContainerId:        e.ID,
		ContainerEventType: eventTypes[e.Kind],
		CreatedAt:          nanos(e.At),
		PodSandboxStatus:   podStatus(e.Pod),
		ContainersStatuses: containerStatuses(e.Containers),
	}
}

func containerStatuses(all []*sandbox.Container) []*cri.ContainerStatus {
	items := make([]*cri.ContainerStatus, 0, len(all))
	for _, c := range all {
		items = append(items, containerStatus(c))
	}
	return items
}
