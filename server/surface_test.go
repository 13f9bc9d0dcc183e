package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/imagestore"
	"slipway/sandbox"
	"slipway/server/streaming"
)

// notYet are the only requests that may answer Unimplemented.
var notYet = []string{
	cri.RuntimeService_CheckpointContainer_FullMethodName,
	cri.RuntimeService_CheckpointPod_FullMethodName,
	cri.RuntimeService_RestorePod_FullMethodName,
}

// Every request of the CRI is asked with an empty message: all have an answer
// of their own, but for those of notYet.
func TestEveryRequestIsImplemented(t *testing.T) {
	pods := &fakePods{}
	conn := serveAll(t, pods)
	var asked, missing []string
	services := cri.File_staging_src_k8s_io_cri_api_pkg_apis_runtime_v1_api_proto.Services()
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			m := methods.Get(j)
			name := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
			asked = append(asked, name)
			err := ask(t, conn, pods, m, name)
			if status.Code(err) == codes.Internal {
				t.Errorf("%s: %v", name, err)
			}
			if status.Code(err) == codes.Unimplemented {
				missing = append(missing, name)
			}
		}
	}
	if len(asked) != 43 {
		t.Errorf("the CRI has %d requests, want the 43 of 0.37", len(asked))
	}
	slices.Sort(missing)
	if !slices.Equal(missing, notYet) {
		t.Errorf("not implemented: %q\nwant %q", missing, notYet)
	}
}

// serveAll serves with everything that a daemon has.
func serveAll(t *testing.T, pods *fakePods) *grpc.ClientConn {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	streams, err := streaming.Listen(streaming.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := streams.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	address := "unix://" + filepath.Join(t.TempDir(), "s.sock")
	l, err := Listen(ListenOptions{Address: address, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	srv := New(Options{Pods: pods, Images: &fakeImages{images: []imagestore.Image{sampleImage()}}, Log: log, Version: "1.2.3", Config: func() any { return nil }, Streams: streams})
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		srv.Stop(ctx)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return conn
}

// ask sends an empty message and returns how the first answer went.
func ask(t *testing.T, conn *grpc.ClientConn, pods *fakePods, m protoreflect.MethodDescriptor, name string) error {
	t.Helper()
	empty := func(d protoreflect.MessageDescriptor) any {
		kind, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
		if err != nil {
			t.Fatal(err)
		}
		return kind.New().Interface()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if !m.IsStreamingServer() {
		return conn.Invoke(ctx, name, empty(m.Input()), empty(m.Output()))
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, name)
	if err == nil {
		err = errors.Join(stream.SendMsg(empty(m.Input())), stream.CloseSend())
	}
	if err != nil {
		t.Fatal(err)
	}
	if name == cri.RuntimeService_GetContainerEvents_FullMethodName { // has no end of its own
		_, _ = stream.Header()
		pods.feed.Publish(sandbox.Event{ID: podA, View: sandbox.View{Pod: samplePod(podA, true)}})
	}
	if err := stream.RecvMsg(empty(m.Output())); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
