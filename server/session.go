package server

import (
	"context"
	"fmt"
	"io"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
	"slipway/server/streaming"
)

// Exec gives a URL at which a command runs with the client's streams.
func (s *runtimeService) Exec(ctx context.Context, req *cri.ExecRequest) (*cri.ExecResponse, error) {
	if s.o.Streams == nil {
		return s.UnimplementedRuntimeServiceServer.Exec(ctx, req)
	}
	want := streaming.Want{Stdin: req.GetStdin(), Stdout: req.GetStdout(), Stderr: req.GetStderr(), TTY: req.GetTty()}
	c, err := s.streamable(req.GetContainerId(), want)
	if err == nil && len(req.GetCmd()) == 0 {
		err = fmt.Errorf("no command given: %w", sandbox.ErrInvalid)
	}
	if err != nil {
		return nil, fmt.Errorf("exec in container %q: %w", req.GetContainerId(), err)
	}
	url, err := s.o.Streams.Exec(c.PodID, want, func(ctx context.Context, streams streaming.Streams) (int, error) {
		return s.pods.Exec(ctx, c.ID, req.GetCmd(), want.TTY, sandbox.Streams(streams))
	})
	if err != nil {
		return nil, err
	}
	return &cri.ExecResponse{Url: url}, nil
}

// Attach gives a URL at which the client's streams are tied to a container's.
func (s *runtimeService) Attach(ctx context.Context, req *cri.AttachRequest) (*cri.AttachResponse, error) {
	if s.o.Streams == nil {
		return s.UnimplementedRuntimeServiceServer.Attach(ctx, req)
	}
	want := streaming.Want{Stdin: req.GetStdin(), Stdout: req.GetStdout(), Stderr: req.GetStderr(), TTY: req.GetTty()}
	c, err := s.streamable(req.GetContainerId(), want)
	if err == nil && want.Stdin && !c.Config.GetStdin() {
		err = fmt.Errorf("it was created without stdin: %w", sandbox.ErrInvalid)
	}
	if err != nil {
		return nil, fmt.Errorf("attach to container %q: %w", req.GetContainerId(), err)
	}
	url, err := s.o.Streams.Attach(c.PodID, want, func(ctx context.Context, streams streaming.Streams) (int, error) {
		return 0, s.pods.Attach(ctx, c.ID, sandbox.Streams(streams))
	})
	if err != nil {
		return nil, err
	}
	return &cri.AttachResponse{Url: url}, nil
}

// PortForward gives a URL at which connections to a pod are forwarded.
func (s *runtimeService) PortForward(ctx context.Context, req *cri.PortForwardRequest) (*cri.PortForwardResponse, error) {
	if s.o.Streams == nil {
		return s.UnimplementedRuntimeServiceServer.PortForward(ctx, req)
	}
	p, err := s.pods.Pod(req.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	if !p.Ready {
		return nil, fmt.Errorf("port-forward to pod sandbox %q: it is not ready: %w", p.ID, sandbox.ErrState)
	}
	for _, port := range req.GetPort() {
		if port < 1 || port > 1<<16-1 {
			return nil, fmt.Errorf("port-forward to pod sandbox %q: port %d: %w", p.ID, port, sandbox.ErrInvalid)
		}
	}
	url, err := s.o.Streams.Forward(p.ID, req.GetPort(), func(ctx context.Context, port uint16, stream io.ReadWriteCloser) error {
		return s.pods.PortForward(ctx, p.ID, port, stream)
	})
	if err != nil {
		return nil, err
	}
	return &cri.PortForwardResponse{Url: url}, nil
}

// streamable finds the container of a request for streams, and says no while
// the client can still read why in an answer.
func (s *runtimeService) streamable(id string, w streaming.Want) (*sandbox.Container, error) {
	switch {
	case w.TTY && w.Stderr:
		return nil, fmt.Errorf("a terminal has no stderr of its own: tty and stderr exclude each other: %w", sandbox.ErrInvalid)
	case !w.Stdin && !w.Stdout && !w.Stderr:
		return nil, fmt.Errorf("none of stdin, stdout and stderr is asked for: %w", sandbox.ErrInvalid)
	}
	c, err := s.pods.Container(id)
	if err != nil {
		return nil, err
	}
	if c.State != sandbox.Running {
		return nil, fmt.Errorf("it does not run: %w", sandbox.ErrState)
	}
	return c, nil
}
