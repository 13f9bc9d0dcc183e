package server

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/imagestore"
	"slipway/sandbox"
)

// Sentinels that never come up to the server: who wraps them says as what.
var wrappedBySandbox = map[string]string{
	"oci.ErrInvalid": "sandbox.ErrInvalid",
}

func TestEverySentinelHasARow(t *testing.T) {
	rows := tableRows(t)
	for _, room := range []string{"sandbox", "imagestore", "oci"} {
		names := sentinels(t, filepath.Join("..", room))
		if len(names) == 0 {
			t.Errorf("%s: no exported Err* found; did the room move?", room)
		}
		for _, name := range names {
			name = room + "." + name
			if as, ok := wrappedBySandbox[name]; ok {
				name = as
			}
			if !rows[name] {
				t.Errorf("%s has no row in the table of errors.go", name)
			}
		}
	}
}

// sentinels returns the exported Err* variables of the package in dir.
func sentinels(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	for _, f := range parseDir(t, dir) {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					if strings.HasPrefix(name.Name, "Err") {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	return names
}

func parseDir(t *testing.T, dir string) []*ast.File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// tableRows returns the names in the "is" column of the table.
func tableRows(t *testing.T) map[string]bool {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		kv, ok := n.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		if key, ok := kv.Key.(*ast.Ident); ok && key.Name == "is" {
			if sel, ok := kv.Value.(*ast.SelectorExpr); ok {
				rows[sel.X.(*ast.Ident).Name+"."+sel.Sel.Name] = true
			}
		}
		return true
	})
	if len(rows) == 0 {
		t.Fatal("no rows found in errors.go")
	}
	return rows
}

// gRPC codes are a matter of one file.
func TestOnlyOneFileKnowsCodes(t *testing.T) {
	paths, _ := filepath.Glob("*.go")
	for _, path := range paths {
		if path == "errors.go" || strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range f.Imports {
			if imp.Path.Value == `"google.golang.org/grpc/codes"` || imp.Path.Value == `"google.golang.org/grpc/status"` {
				t.Errorf("%s imports %s", path, imp.Path.Value)
			}
		}
	}
}

func TestAnswer(t *testing.T) {
	live := t.Context()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithTimeout(t.Context(), -1)
	defer cancel()

	wrap := func(err error) error { return fmt.Errorf("start container %q: %w", "4f1c", err) }
	tests := []struct {
		name string
		ctx  context.Context
		err  error
		code codes.Code
		text string // start of the message
	}{
		{"success", live, nil, codes.OK, ""},
		{"no such container", live, wrap(sandbox.ErrNotFound), codes.NotFound, `start container "4f1c": `},
		{"other config", live, wrap(sandbox.ErrExists), codes.AlreadyExists, ""},
		{"bad request", live, wrap(sandbox.ErrInvalid), codes.InvalidArgument, ""},
		{"wrong state", live, wrap(sandbox.ErrState), codes.FailedPrecondition, ""},
		{"not ready", live, wrap(sandbox.ErrUnavailable), codes.Unavailable, ""},
		{"exec took too long", live, wrap(sandbox.ErrTimeout), codes.DeadlineExceeded, ""},
		{"no such image", live, wrap(imagestore.ErrNotFound), codes.NotFound, ""},
		{"bad reference", live, wrap(imagestore.ErrInvalid), codes.InvalidArgument, ""},
		{"credentials", live, wrap(imagestore.ErrDenied), codes.PermissionDenied, ""},
		{"corrupt layer", live, wrap(imagestore.ErrCorrupt), codes.DataLoss, ""},
		{"registry down", live, wrap(imagestore.ErrUnreachable), codes.Unknown, "RegistryUnavailable: start container"},
		{"recursive read-only", live, wrap(fmt.Errorf("%w: %w", sandbox.ErrInvalid, sandbox.ErrRecursiveReadonly)), codes.Unknown, "RROUnsupported: start container"},
		{"image volume", live, wrap(fmt.Errorf("%w: %w", sandbox.ErrImageVolume, imagestore.ErrNotFound)), codes.Unknown, "ImageVolumeMountFailed: start container"},
		{"own limit", live, wrap(context.DeadlineExceeded), codes.DeadlineExceeded, ""},
		{"own limit of a registry", live, errors.Join(imagestore.ErrUnreachable, context.DeadlineExceeded), codes.Unknown, "RegistryUnavailable: "},
		{"caller left", ended, errors.Join(imagestore.ErrUnreachable, context.Canceled), codes.Canceled, ""},
		{"caller's deadline", late, errors.Join(imagestore.ErrUnreachable, context.DeadlineExceeded), codes.DeadlineExceeded, ""},
		{"caller left, other fault", ended, wrap(sandbox.ErrState), codes.FailedPrecondition, ""},
		{"anything else", live, errors.New("mount /proc: permission denied"), codes.Unknown, "mount /proc"},
		{"a status stays", live, status.Error(codes.Unimplemented, "not yet"), codes.Unimplemented, "not yet"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := answer(tt.ctx, "/any", tt.err)
			if status.Code(got) != tt.code {
				t.Errorf("code is %v, want %v", status.Code(got), tt.code)
			}
			if m := message(got); !strings.HasPrefix(m, tt.text) {
				t.Errorf("message is %q, want it to start with %q", m, tt.text)
			}
			if tt.code != codes.Unknown && strings.Contains(message(got), "RegistryUnavailable") {
				t.Errorf("message %q blames the registry", message(got))
			}
		})
	}
}

func TestErrorTextIsBoundedAndValid(t *testing.T) {
	long := strings.Repeat("ä", maxErrorText)
	for _, s := range []string{long, "x" + long, "bad \xff byte", "short"} {
		m := message(answer(t.Context(), "/any", errors.New(s)))
		if len(m) > maxErrorText+len(" ...") || !utf8.ValidString(m) {
			t.Errorf("%d bytes became %d, valid=%v", len(s), len(m), utf8.ValidString(m))
		}
	}
}

func TestGoneIsFine(t *testing.T) {
	gone := fmt.Errorf("pod sandbox %q: %w", "x", sandbox.ErrNotFound)
	s := serve(t, &fakePods{fail: gone}, &fakeImages{})
	img := &cri.ImageSpec{Image: "sha256:none"}
	for name, call := range map[string]func() error{
		"StopPodSandbox":   func() error { return s.runtime.StopPodSandbox(s.ctx, "x") },
		"RemovePodSandbox": func() error { return s.runtime.RemovePodSandbox(s.ctx, "x") },
		"StopContainer":    func() error { return s.runtime.StopContainer(s.ctx, "x", 1) },
		"RemoveContainer":  func() error { return s.runtime.RemoveContainer(s.ctx, "x") },
		"RemoveImage":      func() error { return s.image.RemoveImage(s.ctx, img) },
		"ImageStatus": func() error {
			r, err := s.image.ImageStatus(s.ctx, img, false)
			if err == nil && r.GetImage() != nil {
				return fmt.Errorf("an image: %v", r.GetImage())
			}
			return err
		},
	} {
		if err := call(); err != nil {
			t.Errorf("%s of what is gone: %v", name, err)
		}
	}
	for name, call := range map[string]func() error{
		"StartContainer":     func() error { return s.runtime.StartContainer(s.ctx, "x") },
		"ReopenContainerLog": func() error { return s.runtime.ReopenContainerLog(s.ctx, "x") },
		"PodSandboxStatus":   func() error { _, err := s.runtime.PodSandboxStatus(s.ctx, "x", false); return err },
		"ContainerStatus":    func() error { _, err := s.runtime.ContainerStatus(s.ctx, "x", false); return err },
		"ContainerStats":     func() error { _, err := s.runtime.ContainerStats(s.ctx, "x"); return err },
	} {
		if err := call(); status.Code(err) != codes.NotFound {
			t.Errorf("%s of what is gone: %v, want NotFound", name, err)
		}
	}
}

// Only "gone" is forgiven, not a failure.
func TestStopStillFails(t *testing.T) {
	s := serve(t, &fakePods{fail: errors.New("pid 7 stays in D, at nfs_wait")}, &fakeImages{})
	if err := s.runtime.StopContainer(s.ctx, "x", 1); err == nil || !strings.Contains(err.Error(), "nfs_wait") {
		t.Errorf("StopContainer: %v, want what the room said", err)
	}
}

func TestUnimplemented(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{})
	err := s.runtime.CheckpointContainer(s.ctx, &cri.CheckpointContainerRequest{ContainerId: "x"})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("CheckpointContainer: %v, want Unimplemented", err)
	}
}
