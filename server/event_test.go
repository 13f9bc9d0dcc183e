package server

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
)

type eventStream = grpc.ServerStreamingClient[cri.ContainerEventResponse]

// listen opens a stream of events and returns when the server has subscribed.
func (s *served) listen(t *testing.T) eventStream {
	t.Helper()
	stream, err := cri.NewRuntimeServiceClient(s.conn).GetContainerEvents(t.Context(), &cri.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Header(); err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestEvents(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{})
	streams := []eventStream{s.listen(t), s.listen(t)}
	pod, c := samplePod(podA, true), sampleContainer(ctrA, podA, sandbox.Exited)
	stopped := samplePod(podA, false)
	published := []sandbox.Event{
		{Kind: sandbox.EventCreated, ID: podA, View: sandbox.View{Pod: pod, At: at}},
		{Kind: sandbox.EventStarted, ID: podA, View: sandbox.View{Pod: pod, At: at.Add(1)}},
		{Kind: sandbox.EventStopped, ID: ctrA, View: sandbox.View{Pod: pod, Containers: []*sandbox.Container{c}, At: at.Add(2)}},
		{Kind: sandbox.EventDeleted, ID: podA, View: sandbox.View{Pod: stopped, At: at.Add(3)}},
	}
	for _, e := range published {
		s.pods.feed.Publish(e)
	}
	want := []*cri.ContainerEventResponse{
		{ContainerId: podA, ContainerEventType: cri.ContainerEventType_CONTAINER_CREATED_EVENT, CreatedAt: 1700000000123456789, PodSandboxStatus: podStatus(pod)},
		{ContainerId: podA, ContainerEventType: cri.ContainerEventType_CONTAINER_STARTED_EVENT, CreatedAt: 1700000000123456790, PodSandboxStatus: podStatus(pod)},
		{ContainerId: ctrA, ContainerEventType: cri.ContainerEventType_CONTAINER_STOPPED_EVENT, CreatedAt: 1700000000123456791, PodSandboxStatus: podStatus(pod), ContainersStatuses: []*cri.ContainerStatus{containerStatus(c)}},
		{ContainerId: podA, ContainerEventType: cri.ContainerEventType_CONTAINER_DELETED_EVENT, CreatedAt: 1700000000123456792, PodSandboxStatus: podStatus(stopped)},
	}
	for i, stream := range streams {
		var got []*cri.ContainerEventResponse
		for range want {
			e, err := stream.Recv()
			if err != nil {
				t.Fatalf("stream %d: %v", i, err)
			}
			got = append(got, e)
		}
		if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
			t.Errorf("stream %d: %s", i, d)
		}
	}
}

// One client reads nothing: it is cut off, and the other gets every event.
func TestASlowReaderOfEventsIsCutOff(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{})
	slow, quick := s.listen(t), s.listen(t)
	e := sandbox.Event{Kind: sandbox.EventStarted, ID: ctrA, View: sandbox.View{
		Pod: samplePod(podA, true), Containers: []*sandbox.Container{sampleContainer(ctrA, podA, sandbox.Running)},
	}}
	sent := 0
	for ; s.pods.feed.Dropped() == 0 && sent < 100_000; sent++ {
		e.At = at.Add(time.Duration(sent))
		s.pods.feed.Publish(e)
		got, err := quick.Recv()
		if err != nil || got.CreatedAt != nanos(e.At) {
			t.Fatalf("event %d: %v, %v", sent, got, err)
		}
	}
	for end := time.Now().Add(30 * time.Second); !strings.Contains(s.log.String(), "too slow"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the stream goes on while its client reads nothing")
		}
	}
	read := 0
	for {
		if _, err := slow.Recv(); err != nil {
			if status.Code(err) != codes.ResourceExhausted {
				t.Errorf("cut off with %v", err)
			}
			break
		}
		read++
	}
	if dropped := int(s.pods.feed.Dropped()); dropped == 0 || read == 0 || read+dropped > sent || read+dropped < sent-1 {
		// One may have been taken for a Send that never came to be.
		t.Errorf("%d events: %d read, %d counted as dropped", sent, read, dropped)
	}
}

// The server does not wait for a stream that has no end, and the client sees an
// end, not a failure.
func TestEventsEndWithTheServer(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{})
	stream := s.listen(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s.server.Stop(ctx)
	if ctx.Err() != nil {
		t.Error("the server waited for the stream")
	}
	if e, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("%v, %v; want the end of the stream", e, err)
	}
}

// A client that goes away leaves no subscription behind.
func TestEventsEndWithTheClient(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{})
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := cri.NewRuntimeServiceClient(s.conn).GetContainerEvents(ctx, &cri.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Header(); err != nil {
		t.Fatal(err)
	}
	if n := s.pods.feed.Subscribers(); n != 1 {
		t.Errorf("%d subscribers, want one", n)
	}
	cancel()
	for end := time.Now().Add(30 * time.Second); s.pods.feed.Subscribers() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the subscription stays")
		}
	}
}
