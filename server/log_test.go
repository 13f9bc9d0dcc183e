package server

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
)

func TestLogLine(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{})
	if _, err := s.runtime.RunPodSandbox(s.ctx, samplePod(podA, true).Config, ""); err != nil {
		t.Fatal(err)
	}
	config := sampleContainer(ctrA, podA, sandbox.Created).Config
	config.Envs = []*cri.KeyValue{{Key: "TOKEN", Value: []byte("env-secret")}}
	config.Args = []string{"arg-secret"}
	if _, err := s.runtime.CreateContainer(s.ctx, "thepod", config, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.runtime.ExecSync(s.ctx, "thecontainer", []string{"sh", "-c", "cmd-secret"}, 0); err == nil {
		t.Fatal("exit code 3 is no error")
	}
	for _, want := range []string{
		"method=RunPodSandbox name=default/web pod=newpod took=",
		"method=CreateContainer pod=thepod name=main container=newcontainer took=",
		"method=ExecSync container=thecontainer took=",
	} {
		if n := strings.Count(s.log.String(), want); n != 1 {
			t.Errorf("%d lines with %q, want 1", n, want)
		}
	}
	for _, secret := range []string{"env-secret", "arg-secret", "cmd-secret"} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log repeats %q", secret)
		}
	}
	if t.Failed() {
		t.Log(s.log)
	}
}

func TestLogLevels(t *testing.T) {
	for _, tt := range []struct {
		err   error
		level string
	}{
		{nil, "DEBUG"},
		{sandbox.ErrNotFound, "WARN"},
		{sandbox.ErrState, "WARN"},
		{errors.New("disk broke"), "ERROR"},
	} {
		s := serve(t, &fakePods{fail: tt.err}, &fakeImages{})
		_ = s.runtime.StartContainer(s.ctx, "c") // the log is looked at
		found := false
		for line := range strings.Lines(s.log.String()) {
			if strings.Contains(line, "StartContainer") {
				found = true
				if !strings.Contains(line, "level="+tt.level) {
					t.Errorf("error %v is logged as %s", tt.err, line)
				}
				if tt.err != nil && !strings.Contains(line, tt.err.Error()) {
					t.Errorf("the reason is not in %s", line)
				}
			}
		}
		if !found {
			t.Errorf("error %v: no line", tt.err)
		}
	}
}

// A fault in one request ends that request, not the daemon, and the client does
// not see its inside.
func TestPanic(t *testing.T) {
	pods := &fakePods{act: func() { panic("inner-detail") }}
	s := serve(t, pods, &fakeImages{})
	err := s.runtime.StopPodSandbox(s.ctx, "x")
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "inner-detail") {
		t.Errorf("StopPodSandbox: %v, want Internal", err)
	}
	for _, want := range []string{"inner-detail", "TestPanic.func1", "method=StopPodSandbox"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log has no %q", want)
		}
	}
	if _, err := s.runtime.Version(s.ctx, "v1"); err != nil {
		t.Errorf("Version after a panic: %v", err)
	}
}
