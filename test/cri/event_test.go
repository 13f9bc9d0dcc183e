package cri

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/node"
)

type eventStream = grpc.ServerStreamingClient[cri.ContainerEventResponse]

// listen opens a stream of events, on a connection of its own, and returns when
// the daemon has taken it. It gives up with the test, or after a minute.
func listen(n *node.Node) eventStream {
	n.T.Helper()
	conn, err := grpc.NewClient("unix://"+n.Setup.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(n.T, err)
	n.T.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(n.T.Context(), time.Minute)
	n.T.Cleanup(cancel)
	stream, err := cri.NewRuntimeServiceClient(conn).GetContainerEvents(ctx, &cri.GetEventsRequest{}, grpc.WaitForReady(true))
	must(n.T, err)
	if _, err := stream.Header(); err != nil {
		n.T.Fatal(err)
	}
	return stream
}

// recvUntil reads a stream up to the event of a kind about an id.
func recvUntil(n *node.Node, stream eventStream, id string, kind cri.ContainerEventType) (all []*cri.ContainerEventResponse) {
	n.T.Helper()
	for {
		e, err := stream.Recv()
		if err != nil {
			n.T.Fatalf("after %d events: %v", len(all), err)
		}
		all = append(all, e)
		if e.ContainerId == id && e.ContainerEventType == kind {
			return all
		}
	}
}

// briefly writes events down as "NAME KIND: pod state, containers and states".
func briefly(events []*cri.ContainerEventResponse, names map[string]string) (all []string) {
	for _, e := range events {
		text := names[e.ContainerId] + " " + strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(e.ContainerEventType.String(), "CONTAINER_"), "_EVENT"))
		text += ": " + strings.ToLower(strings.TrimPrefix(e.PodSandboxStatus.GetState().String(), "SANDBOX_"))
		for _, c := range e.ContainersStatuses {
			text += " " + names[c.Id] + "=" + strings.ToLower(strings.TrimPrefix(c.State.String(), "CONTAINER_"))
		}
		all = append(all, text)
	}
	return all
}

func TestEvents(t *testing.T) {
	n := newNode(t)
	first, second := listen(n), listen(n)
	podCfg := n.PodConfig("events")
	pod := n.RunPod(podCfg)
	long := n.Run(pod, podCfg, node.Container("long", "sleep 1000"))
	short := n.Run(pod, podCfg, node.Container("short", "exit 3"))
	n.WaitState(short, cri.ContainerState_CONTAINER_EXITED)
	bad := node.Container("bad", "")
	bad.Command = []string{"/no/such/file"}
	broken, err := n.Runtime.CreateContainer(t.Context(), pod, bad, podCfg)
	must(t, err)
	if err := n.Runtime.StartContainer(t.Context(), broken); err == nil {
		t.Error("a missing program was started")
	}
	must(t, n.Runtime.RemoveContainer(t.Context(), broken))
	must(t, n.Runtime.RemoveContainer(t.Context(), short))
	must(t, n.Runtime.StopPodSandbox(t.Context(), pod))
	must(t, n.Runtime.StopPodSandbox(t.Context(), pod))
	must(t, n.Runtime.RemovePodSandbox(t.Context(), pod))

	events := recvUntil(n, first, pod, cri.ContainerEventType_CONTAINER_DELETED_EVENT)
	names := map[string]string{pod: "pod", long: "long", short: "short", broken: "broken"}
	want := []string{
		"pod created: ready",
		"pod started: ready",
		"long created: ready long=created",
		"long started: ready long=running",
		"short created: ready long=running short=created",
		"short started: ready long=running short=running",
		"short stopped: ready long=running short=exited",
		"broken created: ready long=running short=exited broken=created",
		"broken stopped: ready long=running short=exited broken=exited",
		"broken deleted: ready long=running short=exited",
		"short deleted: ready long=running",
		"long stopped: notready long=exited",
		"pod stopped: notready long=exited",
		"long deleted: notready",
		"pod deleted: notready",
	}
	if got := briefly(events, names); !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
	for i, e := range events {
		if i > 0 && e.CreatedAt <= events[i-1].CreatedAt {
			t.Errorf("event %d is not later than the one before it: %d, %d", i, e.CreatedAt, events[i-1].CreatedAt)
		}
		if m := e.PodSandboxStatus.GetMetadata(); m.GetUid() != "events-uid" || e.PodSandboxStatus.GetId() != pod || e.PodSandboxStatus.GetNetwork().GetIp() == "" {
			t.Errorf("event %d has the pod %v", i, e.PodSandboxStatus)
		}
	}
	ended := events[6].ContainersStatuses
	if c := ended[len(ended)-1]; c.ExitCode != 3 || c.Reason != "Error" || c.FinishedAt < c.StartedAt || c.ImageId == "" || c.LogPath == "" {
		t.Errorf("the end of a container is told as %v", c)
	}
	others := recvUntil(n, second, pod, cri.ContainerEventType_CONTAINER_DELETED_EVENT)
	if got := briefly(others, names); !slices.Equal(got, briefly(events, names)) {
		t.Errorf("the second listener got\n\t%s", strings.Join(got, "\n\t"))
	}
}

// Whoever asks after an event gets that state or a later one, and the answers'
// times order them.
func TestWhatIsReadAfterAnEventIsNotOlder(t *testing.T) {
	n := newNode(t)
	stream := listen(n)
	podCfg := n.PodConfig("fresh")
	pod := n.RunPod(podCfg)
	const containers = 12
	var running sync.WaitGroup
	for i := range containers {
		running.Go(func() {
			id, err := n.Runtime.CreateContainer(t.Context(), pod, node.Container(fmt.Sprintf("c%d", i), "exit 0"), podCfg)
			if err == nil {
				err = n.Runtime.StartContainer(t.Context(), id)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(running.Wait)
	last := int64(0)
	for stopped := 0; stopped < containers; {
		e, err := stream.Recv()
		must(t, err)
		if e.ContainerEventType == cri.ContainerEventType_CONTAINER_STOPPED_EVENT {
			stopped++
		}
		r, err := n.Runtime.PodSandboxStatus(t.Context(), pod, false)
		must(t, err)
		if e.CreatedAt <= last || r.Timestamp <= e.CreatedAt {
			t.Fatalf("an event of %d after one of %d, a status of %d after it", e.CreatedAt, last, r.Timestamp)
		}
		last = e.CreatedAt
		now := map[string]cri.ContainerState{}
		for _, c := range r.ContainersStatuses {
			now[c.Id] = c.State
		}
		for _, c := range e.ContainersStatuses {
			if state, ok := now[c.Id]; !ok || state < c.State { // the CRI numbers them in the order of a life
				t.Fatalf("the event says %s of %s, the status after it %s (%v)", c.State, c.Id, state, ok)
			}
		}
	}
}

// One listener reads nothing while more happens than is kept for it. It is cut
// off and told so; another hears everything.
func TestASlowListenerIsCutOff(t *testing.T) {
	n := newNode(t)
	slow, quick := listen(n), listen(n)
	podCfg := n.PodConfig("slow")
	pod := n.RunPod(podCfg)
	var heard int
	done := make(chan error, 1)
	go func() {
		for {
			e, err := quick.Recv()
			if err != nil || e.ContainerId == pod && e.ContainerEventType == cri.ContainerEventType_CONTAINER_DELETED_EVENT {
				done <- err
				return
			}
			heard++
		}
	}()
	made := 0
	for ; made < 5000 && !strings.Contains(daemonLog(n), "too slow"); made += 100 {
		churn(n, pod, podCfg, made, 100)
	}
	read := 0
	for {
		_, err := slow.Recv()
		if err == nil {
			read++
			continue
		}
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "lost") {
			t.Errorf("after %d containers and %d events read it ended with: %v", made, read, err)
		}
		break
	}
	n.RemovePod(pod)
	if err := <-done; err != nil || heard != 2*made+3 {
		t.Errorf("the quick one heard %d events of %d containers: %v", heard, made, err)
	}
}

// churn makes and removes some containers, a few at a time.
func churn(n *node.Node, pod string, podCfg *cri.PodSandboxConfig, from, count int) {
	n.T.Helper()
	var turns sync.WaitGroup
	for turn := range 4 {
		turns.Go(func() {
			for i := from + turn; i < from+count; i += 4 {
				id, err := n.Runtime.CreateContainer(n.T.Context(), pod, node.Container(fmt.Sprintf("c%d", i), "exit 0"), podCfg)
				if err == nil {
					err = n.Runtime.RemoveContainer(n.T.Context(), id)
				}
				if err != nil {
					n.T.Error(err)
				}
			}
		})
	}
	turns.Wait()
	if n.T.Failed() {
		n.T.FailNow()
	}
}

func daemonLog(n *node.Node) string {
	n.T.Helper()
	b, err := os.ReadFile(n.Setup.Log)
	must(n.T, err)
	return string(b)
}

// The end of the daemon ends streams: an orderly one without an error. The next
// daemon takes listeners, and tells of what happens from then on.
func TestEventsEndWithTheDaemon(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("restarts")
	pod := n.RunPod(podCfg)
	id := n.Run(pod, podCfg, node.Container("long", "sleep 1000"))

	orderly := listen(n)
	must(t, n.Daemon.Stop())
	if e, err := orderly.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after an orderly end: %v, %v", e, err)
	}
	n.Start()

	killed := listen(n)
	_ = n.Daemon.Kill()
	if e, err := killed.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("after a kill: %v, %v", e, err)
	}
	n.Start()

	stream := listen(n)
	must(t, n.Runtime.StopContainer(t.Context(), id, 0))
	events := recvUntil(n, stream, id, cri.ContainerEventType_CONTAINER_STOPPED_EVENT)
	want := []string{"long stopped: ready long=exited"}
	if got := briefly(events, map[string]string{id: "long"}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
