package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
	"slipway/server/adminapi"
	"slipway/server/streaming"
)

// Limits of one connection. A peer that is allowed to connect may still be
// broken; none of these is reached by a kubelet.
const (
	maxMessage    = 16 << 20 // bytes, as the kubelet's client has it
	maxStreams    = 256      // requests at one time on a connection; CVE-2023-44487
	handshakeTime = 10 * time.Second
	minPing       = 10 * time.Second
)

// Options say what is served. All fields but Features and Streams are needed.
type Options struct {
	Pods    Pods
	Images  Images
	Log     *slog.Logger
	Version string // of this program, such as "0.1.0"

	// Config returns what verbose Status shows as JSON under the key "config".
	// kubeadm reads its field sandboxImage.
	Config func() any

	Features Features

	// SystemdCgroups: cgroups are made by systemd, as RuntimeConfig says.
	SystemdCgroups bool

	// Handlers are the names of the runtime handlers beside the default one.
	Handlers []string

	// Streams serves exec, attach and port-forward; without it they are
	// Unimplemented. It is the caller's to close.
	Streams *streaming.Server
}

// Features are what this build and host offer, as Status tells the kubelet.
type Features struct {
	RecursiveReadOnlyMounts  bool
	UserNamespaces           bool // with the host's network too
	MountOptions             bool
	SupplementalGroupsPolicy bool
}

// Server answers on a socket.
type Server struct {
	grpc *grpc.Server
	stop func() // ends the streams that have no end of their own
}

// New returns a server that answers nobody yet.
func New(o Options) *Server {
	s := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(logUnary(o.Log), mapUnary(o.Log)),
		grpc.ChainStreamInterceptor(logStream(o.Log), mapStream(o.Log)),
	)
	stopping := make(chan struct{})
	cri.RegisterRuntimeServiceServer(s, &runtimeService{o: o, pods: o.Pods, stopping: stopping})
	cri.RegisterImageServiceServer(s, &imageService{images: o.Images})
	adminapi.RegisterAdminServer(s, &adminService{images: o.Images})
	return &Server{grpc: s, stop: sync.OnceFunc(func() { close(stopping) })}
}

// Serve answers on l, which it closes, until Stop.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); !errors.Is(err, grpc.ErrServerStopped) { // Stop came first
		return err
	}
	return nil
}

// Stop takes no new request, ends streams of events and waits for the requests
// under way; when ctx ends first they are cut off.
func (s *Server) Stop(ctx context.Context) {
	s.stop()
	cut := context.AfterFunc(ctx, s.grpc.Stop)
	defer cut()
	s.grpc.GracefulStop()
}

// runtimeService answers RuntimeService. What it does not define answers
// Unimplemented.
type runtimeService struct {
	cri.UnimplementedRuntimeServiceServer
	o        Options
	pods     Pods
	stopping <-chan struct{} // closed when the server stops

	podItems       encodedItems[*sandbox.Pod]
	containerItems encodedItems[*sandbox.Container]
}

// imageService answers ImageService.
type imageService struct {
	cri.UnimplementedImageServiceServer
	images Images
}
