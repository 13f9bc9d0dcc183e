package server

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/imagestore"
	"slipway/sandbox"
	"slipway/server/streaming"
)

// errPanic is what a client hears of a fault in this program.
var errPanic = errors.New("a fault in slipway itself; its log has the stack")

// table says what an error means to a CRI client; the first row that matches
// counts. The kubelet looks for the text of prefix at the start of a message,
// and its client strips gRPC's wrapping only from code Unknown.
var table = []struct {
	is     error
	code   codes.Code
	prefix string
}{
	{is: errPanic, code: codes.Internal},

	// Before its own cause, which may be any of the others.
	{is: sandbox.ErrImageVolume, code: codes.Unknown, prefix: "ImageVolumeMountFailed: "},
	{is: sandbox.ErrRecursiveReadonly, code: codes.Unknown, prefix: "RROUnsupported: "},

	{is: sandbox.ErrNotFound, code: codes.NotFound},
	{is: sandbox.ErrExists, code: codes.AlreadyExists},
	{is: sandbox.ErrInvalid, code: codes.InvalidArgument},
	{is: sandbox.ErrState, code: codes.FailedPrecondition},
	{is: sandbox.ErrUnavailable, code: codes.Unavailable},
	{is: sandbox.ErrTimeout, code: codes.DeadlineExceeded},

	{is: sandbox.ErrSlow, code: codes.ResourceExhausted},
	{is: streaming.ErrTooMany, code: codes.ResourceExhausted},

	{is: imagestore.ErrNotFound, code: codes.NotFound},
	{is: imagestore.ErrInvalid, code: codes.InvalidArgument},
	{is: imagestore.ErrDenied, code: codes.PermissionDenied},
	{is: imagestore.ErrExists, code: codes.AlreadyExists},
	{is: imagestore.ErrCorrupt, code: codes.DataLoss},
	{is: imagestore.ErrUnreachable, code: codes.Unknown, prefix: "RegistryUnavailable: "},

	// Last: a room that gave up by itself has said above what that means.
	{is: context.DeadlineExceeded, code: codes.DeadlineExceeded},
	{is: context.Canceled, code: codes.Canceled},
}

// goneIsFine are the requests that are answered with their empty reply when
// there is no such object: it is as the caller wants it, or (ImageStatus) that
// is how the CRI says "absent".
var goneIsFine = map[string]error{
	cri.RuntimeService_StopPodSandbox_FullMethodName:   sandbox.ErrNotFound,
	cri.RuntimeService_RemovePodSandbox_FullMethodName: sandbox.ErrNotFound,
	cri.RuntimeService_StopContainer_FullMethodName:    sandbox.ErrNotFound,
	cri.RuntimeService_RemoveContainer_FullMethodName:  sandbox.ErrNotFound,
	cri.ImageService_RemoveImage_FullMethodName:        imagestore.ErrNotFound,
	cri.ImageService_ImageStatus_FullMethodName:        imagestore.ErrNotFound,
}

// maxErrorText bounds the message of an error, in bytes: what a plugin or a
// registry printed may be part of it, and it ends in a pod's events.
const maxErrorText = 8 << 10

// answer is err as the client hears it; nil stays nil.
func answer(ctx context.Context, method string, err error) error {
	if err == nil {
		return nil
	}
	if gone, ok := goneIsFine[method]; ok && errors.Is(err, gone) {
		return nil
	}
	if s, ok := status.FromError(err); ok {
		return s.Err() // Unimplemented, by the generated code, or gRPC's own
	}
	code, prefix := meaning(ctx, err)
	return status.Error(code, prefix+bounded(err.Error()))
}

func meaning(ctx context.Context, err error) (code codes.Code, prefix string) {
	// The caller's own end comes before what it made of the room's work: a
	// pull cut short says "unreachable" as well.
	if end := ctx.Err(); end != nil && errors.Is(err, end) {
		return status.FromContextError(end).Code(), ""
	}
	for _, row := range table {
		if errors.Is(err, row.is) {
			return row.code, row.prefix
		}
	}
	return codes.Unknown, ""
}

// bounded returns s cut to maxErrorText, as valid UTF-8.
func bounded(s string) string {
	if len(s) > maxErrorText {
		cut := maxErrorText
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + " ..."
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// severity is how loud the log is about the end of a request.
func severity(err error) slog.Level {
	switch status.Code(err) {
	case codes.OK, codes.Unimplemented:
		return slog.LevelDebug
	case codes.Unknown, codes.Internal, codes.DataLoss:
		return slog.LevelError
	}
	return slog.LevelWarn
}

// message is an error's text without gRPC's wrapping.
func message(err error) string { return status.Convert(err).Message() }

// mapUnary maps the errors of requests with one reply, and ends a panic where
// it harms one request only.
func mapUnary(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
		defer func() {
			recovered(log, info.FullMethod, recover(), &err)
			err = answer(ctx, info.FullMethod, err)
		}()
		return handle(ctx, req)
	}
}

// mapStream does the same for streams.
func mapStream(log *slog.Logger) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
		defer func() {
			recovered(log, info.FullMethod, recover(), &err)
			err = answer(ss.Context(), info.FullMethod, err)
		}()
		return handle(srv, ss)
	}
}

// recovered turns a panic, if there was one, into errPanic.
func recovered(log *slog.Logger, method string, panicked any, err *error) {
	if panicked == nil {
		return
	}
	log.Error("panic in a request", "method", method, "panic", panicked, "stack", string(debug.Stack()))
	*err = errPanic
}
