package server

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	internalapi "k8s.io/cri-api/pkg/apis"
	criclient "k8s.io/cri-client/pkg"
	"k8s.io/klog/v2"
)

// served is a server on a socket, with the kubelet's clients of it.
type served struct {
	ctx     context.Context
	pods    *fakePods
	images  *fakeImages
	runtime internalapi.RuntimeService
	image   internalapi.ImageManagerService
	conn    *grpc.ClientConn // for what the clients cannot say
	log     *logBuffer
	server  *Server
}

func serve(t *testing.T, pods *fakePods, images *fakeImages) *served {
	return serveStreaming(t, pods, images, false)
}

func serveStreaming(t *testing.T, pods *fakePods, images *fakeImages, streaming bool) *served {
	t.Helper()
	s := &served{ctx: klog.NewContext(t.Context(), logr.Discard()), pods: pods, images: images, log: &logBuffer{}}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	address := "unix://" + filepath.Join(t.TempDir(), "s.sock")
	l, err := Listen(ListenOptions{Address: address, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	srv := New(Options{
		Pods: pods, Images: images, Log: log, Version: "1.2.3",
		Config:   func() any { return map[string]string{"sandboxImage": "example/pause:1"} },
		Features: Features{RecursiveReadOnlyMounts: true, SupplementalGroupsPolicy: true},
	})
	s.server = srv
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		srv.Stop(ctx)
		if err := <-done; err != nil {
			t.Errorf("Serve ended with: %v", err)
		}
	})

	if s.conn, err = grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.conn.Close() })
	s.runtime, err = criclient.NewRemoteRuntimeServiceBuilder().
		WithEndpoint(address).WithConnectionTimeout(10 * time.Second).WithUseStreaming(streaming).Build(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.runtime.Close(s.ctx) })
	s.image, err = criclient.NewRemoteImageServiceBuilder().
		WithEndpoint(address).WithConnectionTimeout(10 * time.Second).WithUseStreaming(streaming).Build(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.image.Close(s.ctx) })
	return s
}

// logBuffer is a log that a test reads while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
