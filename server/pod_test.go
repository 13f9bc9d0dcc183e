package server

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
)

func TestPodStatus(t *testing.T) {
	c := sampleContainer(ctrA, podA, sandbox.Exited)
	s := serve(t, &fakePods{
		pods:       []*sandbox.Pod{samplePod(podA, true)},
		containers: []*sandbox.Container{c, sampleContainer(ctrB, podB, sandbox.Running)},
	}, &fakeImages{})
	got, err := s.runtime.PodSandboxStatus(s.ctx, podA[:8], false)
	if err != nil {
		t.Fatal(err)
	}
	want := &cri.PodSandboxStatusResponse{Status: &cri.PodSandboxStatus{
		Id:        podA,
		Metadata:  &cri.PodSandboxMetadata{Name: "web", Uid: "u1", Namespace: "default", Attempt: 2},
		State:     cri.PodSandboxState_SANDBOX_READY,
		CreatedAt: 1700000000123456789,
		Network:   &cri.PodSandboxNetworkStatus{Ip: "10.1.2.3", AdditionalIps: []*cri.PodIP{{Ip: "fd00::3"}}},
		Linux: &cri.LinuxPodSandboxStatus{Namespaces: &cri.Namespace{Options: &cri.NamespaceOption{
			Pid: cri.NamespaceMode_CONTAINER, Ipc: cri.NamespaceMode_NODE,
		}}},
		Labels:      map[string]string{"app": "web", "tier": "front"},
		Annotations: map[string]string{"hash": "=\n odd \t"},
	}, ContainersStatuses: []*cri.ContainerStatus{containerStatus(c)}, Timestamp: at.UnixNano()}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

// The kubelet rebuilds a pod whose network has an empty address, and every
// host-network pod whose status does not say so.
func TestPodStatusOnHostNetwork(t *testing.T) {
	p := samplePod(podA, true)
	p.IPs, p.NetNS = nil, ""
	p.Config.Linux.SecurityContext.NamespaceOptions.Network = cri.NamespaceMode_NODE
	st := podStatus(p)
	if st.GetNetwork() != nil {
		t.Errorf("network is %v, want none", st.GetNetwork())
	}
	if m := st.GetLinux().GetNamespaces().GetOptions().GetNetwork(); m != cri.NamespaceMode_NODE {
		t.Errorf("network mode is %v, want NODE", m)
	}
	p.Config.Linux = nil
	if podStatus(p).GetLinux().GetNamespaces().GetOptions() == nil {
		t.Error("a pod without a linux config has no namespace options")
	}
}

func TestPodVerbose(t *testing.T) {
	s := serve(t, &fakePods{pods: []*sandbox.Pod{samplePod(podA, true)}}, &fakeImages{})
	resp, err := s.runtime.PodSandboxStatus(s.ctx, podA, true)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		SandboxID, NetNamespace string
		Pid                     *int
		CNIResult               map[string]any
		Config                  struct{ Metadata struct{ Name string } }
		RuntimeSpec             struct {
			Linux struct {
				Namespaces []struct{ Type, Path string }
			}
		}
	}
	if err := json.Unmarshal([]byte(resp.GetInfo()["info"]), &got); err != nil {
		t.Fatalf("info is %q: %v", resp.GetInfo()["info"], err)
	}
	ns := got.RuntimeSpec.Linux.Namespaces
	if got.SandboxID != podA || got.Pid == nil || got.CNIResult["cniVersion"] != "1.0.0" || got.Config.Metadata.Name != "web" ||
		!strings.HasSuffix(got.NetNamespace, podA) || len(ns) != 1 || ns[0].Type != "network" || ns[0].Path != got.NetNamespace {
		t.Errorf("info is %s", resp.GetInfo()["info"])
	}
}

func TestPodOperations(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{})
	id, err := s.runtime.RunPodSandbox(s.ctx, samplePod(podA, true).Config, "kata")
	if err != nil || id != "newpod" {
		t.Errorf("RunPodSandbox: %q, %v", id, err)
	}
	if err := errors.Join(s.runtime.StopPodSandbox(s.ctx, "p"), s.runtime.RemovePodSandbox(s.ctx, "p")); err != nil {
		t.Error(err)
	}
	if err := s.runtime.UpdateRuntimeConfig(s.ctx, &cri.RuntimeConfig{NetworkConfig: &cri.NetworkConfig{PodCidr: "10.0.0.0/24,fd00::/64"}}); err != nil {
		t.Error(err)
	}
	want := []string{`RunPod web "kata"`, "StopPod p", "RemovePod p", "SetPodCIDR 10.0.0.0/24,fd00::/64"}
	if d := cmp.Diff(want, s.pods.calls); d != "" {
		t.Error(d)
	}
}

func TestListPods(t *testing.T) {
	for _, streaming := range []bool{false, true} {
		pods := []*sandbox.Pod{samplePod(podA, true), samplePod(podB, false)}
		pods[1].Config.Labels = map[string]string{"app": "web", "tier": "back"}
		s := serveStreaming(t, &fakePods{pods: pods}, &fakeImages{}, streaming)
		ready := &cri.PodSandboxStateValue{State: cri.PodSandboxState_SANDBOX_READY}
		tests := []struct {
			name   string
			filter *cri.PodSandboxFilter
			want   []string
		}{
			{"no filter", nil, []string{podA, podB}},
			{"full id", &cri.PodSandboxFilter{Id: podB}, []string{podB}},
			{"id prefix", &cri.PodSandboxFilter{Id: "a1"}, []string{podA}},
			{"unknown id", &cri.PodSandboxFilter{Id: "ff"}, nil},
			{"ready", &cri.PodSandboxFilter{State: ready}, []string{podA}},
			{"not ready", &cri.PodSandboxFilter{State: &cri.PodSandboxStateValue{State: cri.PodSandboxState_SANDBOX_NOTREADY}}, []string{podB}},
			{"label", &cri.PodSandboxFilter{LabelSelector: map[string]string{"app": "web"}}, []string{podA, podB}},
			{"labels are ANDed", &cri.PodSandboxFilter{LabelSelector: map[string]string{"app": "web", "tier": "back"}}, []string{podB}},
			{"label absent", &cri.PodSandboxFilter{LabelSelector: map[string]string{"none": ""}}, nil},
			{"parts are ANDed", &cri.PodSandboxFilter{Id: podB, State: ready}, nil},
		}
		for _, tt := range tests {
			items, err := s.runtime.ListPodSandbox(s.ctx, tt.filter)
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			var got []string
			for _, p := range items {
				got = append(got, p.GetId())
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("%s, streaming=%v: %s", tt.name, streaming, d)
			}
		}
	}
}

func TestPodItem(t *testing.T) {
	p := samplePod(podB, false)
	p.Handler = "other"
	want := &cri.PodSandbox{
		Id:             podB,
		Metadata:       p.Config.Metadata,
		State:          cri.PodSandboxState_SANDBOX_NOTREADY,
		CreatedAt:      1700000000123456789,
		Labels:         p.Config.Labels,
		Annotations:    p.Config.Annotations,
		RuntimeHandler: "other",
	}
	if d := cmp.Diff(want, podItem(p), protocmp.Transform()); d != "" {
		t.Error(d)
	}
}
