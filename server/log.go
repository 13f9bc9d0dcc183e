package server

import (
	"context"
	"log/slog"
	"path"
	"time"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// logUnary writes one line a request: method, what it is about, how long it
// took, and what went wrong. A request is never written whole: environments,
// commands and credentials are in there.
func logUnary(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		start := time.Now()
		resp, err := handle(ctx, req)
		logEnd(ctx, log, info.FullMethod, start, err, func() []slog.Attr { return append(about(req), made(resp, err)...) })
		return resp, err
	}
}

// logStream writes one line a stream, when it ends.
func logStream(log *slog.Logger) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		start := time.Now()
		err := handle(srv, ss)
		logEnd(ss.Context(), log, info.FullMethod, start, err, func() []slog.Attr { return nil })
		return err
	}
}

func logEnd(ctx context.Context, log *slog.Logger, method string, start time.Time, err error, objects func() []slog.Attr) {
	level := severity(err)
	if !log.Enabled(ctx, level) {
		return
	}
	attrs := append([]slog.Attr{slog.String("method", path.Base(method))}, objects()...)
	attrs = append(attrs, slog.Duration("took", time.Since(start)))
	text := "request"
	if err != nil {
		text = "request failed"
		attrs = append(attrs, slog.String("error", message(err)))
	}
	log.LogAttrs(ctx, level, text, attrs...)
}

// about names the objects of a request.
func about(req any) []slog.Attr {
	var attrs []slog.Attr
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	if r, ok := req.(interface{ GetPodSandboxId() string }); ok {
		add("pod", r.GetPodSandboxId())
	}
	if r, ok := req.(interface{ GetContainerId() string }); ok {
		add("container", r.GetContainerId())
	}
	if r, ok := req.(interface{ GetImage() *cri.ImageSpec }); ok {
		add("image", r.GetImage().GetImage())
	}
	switch r := req.(type) {
	case *cri.RunPodSandboxRequest:
		m := r.GetConfig().GetMetadata()
		add("name", m.GetNamespace()+"/"+m.GetName())
	case *cri.CreateContainerRequest:
		add("name", r.GetConfig().GetMetadata().GetName())
	case *cri.PullImageRequest:
		if m := r.GetSandboxConfig().GetMetadata(); m != nil {
			add("for", m.GetNamespace()+"/"+m.GetName())
		}
	}
	return attrs
}

// made names what a request brought into being.
func made(resp any, err error) []slog.Attr {
	if err != nil {
		return nil
	}
	switch r := resp.(type) {
	case *cri.RunPodSandboxResponse:
		return []slog.Attr{slog.String("pod", r.GetPodSandboxId())}
	case *cri.CreateContainerResponse:
		return []slog.Attr{slog.String("container", r.GetContainerId())}
	case *cri.PullImageResponse:
		return []slog.Attr{slog.String("id", r.GetImageRef())}
	}
	return nil
}
