package server

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestVersion(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{})
	got, err := s.runtime.Version(s.ctx, "v1")
	if err != nil {
		t.Fatal(err)
	}
	want := &cri.VersionResponse{Version: "0.1.0", RuntimeName: "slipway", RuntimeVersion: "1.2.3", RuntimeApiVersion: "v1"}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

func TestRuntimeConfig(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{})
	got, err := s.runtime.RuntimeConfig(s.ctx)
	if err != nil || got.GetLinux() == nil || got.GetLinux().GetCgroupDriver() != cri.CgroupDriver_CGROUPFS {
		t.Errorf("RuntimeConfig: %v, %v", got, err)
	}
}

func TestStatus(t *testing.T) {
	broken := errors.New("no network configuration in /etc/cni/net.d")
	for _, tt := range []struct {
		name            string
		network, keeper error
		want            []*cri.RuntimeCondition
	}{
		{"ready", nil, nil, []*cri.RuntimeCondition{
			{Type: "RuntimeReady", Status: true}, {Type: "NetworkReady", Status: true},
		}},
		{"no network", broken, nil, []*cri.RuntimeCondition{
			{Type: "RuntimeReady", Status: true},
			{Type: "NetworkReady", Reason: "NetworkPluginNotReady", Message: broken.Error()},
		}},
		{"no keeper", nil, errors.New("keeper: gone"), []*cri.RuntimeCondition{
			{Type: "RuntimeReady", Reason: "KeeperNotReady", Message: "keeper: gone"},
			{Type: "NetworkReady", Status: true},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, &fakePods{netErr: tt.network, keeperErr: tt.keeper}, &fakeImages{})
			got, err := s.runtime.Status(s.ctx, false)
			if err != nil {
				t.Fatal(err)
			}
			want := &cri.StatusResponse{
				Status: &cri.RuntimeStatus{Conditions: tt.want},
				RuntimeHandlers: []*cri.RuntimeHandler{
					{Name: "", Features: &cri.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: true}},
				},
				Features: &cri.RuntimeFeatures{SupplementalGroupsPolicy: true},
			}
			if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestStatusVerbose(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{})
	got, err := s.runtime.Status(s.ctx, true)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		SandboxImage string `json:"sandboxImage"` // as kubeadm reads it
	}
	if err := json.Unmarshal([]byte(got.GetInfo()["config"]), &config); err != nil || config.SandboxImage != "example/pause:1" {
		t.Errorf("config is %q: %v", got.GetInfo()["config"], err)
	}
	for key, value := range got.GetInfo() {
		if !json.Valid([]byte(value)) {
			t.Errorf("%s is not JSON: %q", key, value)
		}
	}
	if got.GetInfo()["cniconfig"] != `{"name":"testnet"}` {
		t.Errorf("info is %v", got.GetInfo())
	}
}

// The kubelet copies the handlers to its node, where RuntimeClasses find them.
func TestHandlers(t *testing.T) {
	s := &runtimeService{o: Options{Handlers: []string{"a", "b"}, Features: Features{UserNamespaces: true}}}
	var names []string
	for _, h := range s.handlers() {
		names = append(names, h.GetName())
		if !h.GetFeatures().GetUserNamespaces() || h.GetFeatures().GetRecursiveReadOnlyMounts() {
			t.Errorf("%v", h)
		}
	}
	if d := cmp.Diff([]string{"", "a", "b"}, names); d != "" {
		t.Error(d)
	}
}
