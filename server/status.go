package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"runtime"
	"strings"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
)

const (
	runtimeName = "slipway"
	// kubeletVersion is what a kubelet compares our answer with, to the letter.
	kubeletVersion = "0.1.0"
	apiVersion     = "v1"
)

// Version says who answers. It is a kubelet's first question.
func (s *runtimeService) Version(context.Context, *cri.VersionRequest) (*cri.VersionResponse, error) {
	return &cri.VersionResponse{
		Version:           kubeletVersion,
		RuntimeName:       runtimeName,
		RuntimeVersion:    s.o.Version,
		RuntimeApiVersion: apiVersion,
	}, nil
}

// RuntimeConfig tells the kubelet who manages cgroups: it lays out its own
// accordingly.
func (s *runtimeService) RuntimeConfig(context.Context, *cri.RuntimeConfigRequest) (*cri.RuntimeConfigResponse, error) {
	driver := cri.CgroupDriver_CGROUPFS
	if s.o.SystemdCgroups {
		driver = cri.CgroupDriver_SYSTEMD
	}
	return &cri.RuntimeConfigResponse{Linux: &cri.LinuxRuntimeConfiguration{CgroupDriver: driver}}, nil
}

// UpdateRuntimeConfig hands on the addresses that this node's pods get.
func (s *runtimeService) UpdateRuntimeConfig(_ context.Context, req *cri.UpdateRuntimeConfigRequest) (*cri.UpdateRuntimeConfigResponse, error) {
	cidrs := req.GetRuntimeConfig().GetNetworkConfig().GetPodCidr()
	if cidrs == "" {
		return &cri.UpdateRuntimeConfigResponse{}, nil
	}
	for cidr := range strings.SplitSeq(cidrs, ",") {
		if _, err := netip.ParsePrefix(strings.TrimSpace(cidr)); err != nil {
			return nil, fmt.Errorf("update runtime config: pod_cidr: %q is not an address range: %w", cidr, sandbox.ErrInvalid)
		}
	}
	s.pods.SetPodCIDR(cidrs)
	return &cri.UpdateRuntimeConfigResponse{}, nil
}

// Status is asked for every five seconds: it reads nothing that can be slow.
func (s *runtimeService) Status(ctx context.Context, req *cri.StatusRequest) (*cri.StatusResponse, error) {
	resp := &cri.StatusResponse{
		Status: &cri.RuntimeStatus{Conditions: []*cri.RuntimeCondition{
			condition(cri.RuntimeReady, "KeeperNotReady", s.pods.KeeperStatus()),
			condition(cri.NetworkReady, "NetworkPluginNotReady", s.pods.NetworkStatus(ctx)),
		}},
		RuntimeHandlers: s.handlers(),
		Features: &cri.RuntimeFeatures{
			SupplementalGroupsPolicy:  s.o.Features.SupplementalGroupsPolicy,
			UserNamespacesHostNetwork: s.o.Features.UserNamespaces,
			MountOptions:              s.o.Features.MountOptions,
		},
	}
	if !req.GetVerbose() {
		return resp, nil
	}
	var err error
	resp.Info, err = info(map[string]any{
		"config":     s.o.Config(),
		"cniconfig":  s.pods.NetworkConfig(),
		"golang":     runtime.Version(),
		"goroutines": runtime.NumGoroutine(),
	})
	return resp, err
}

// handlers are the default one, "", and those of the configuration. They differ
// in settings, and all can what this host can.
func (s *runtimeService) handlers() []*cri.RuntimeHandler {
	var all []*cri.RuntimeHandler
	for _, name := range append([]string{""}, s.o.Handlers...) {
		all = append(all, &cri.RuntimeHandler{
			Name: name,
			Features: &cri.RuntimeHandlerFeatures{
				RecursiveReadOnlyMounts: s.o.Features.RecursiveReadOnlyMounts,
				UserNamespaces:          s.o.Features.UserNamespaces,
			},
		})
	}
	return all
}

// condition is a part's readiness as the kubelet reads it.
func condition(kind, reason string, err error) *cri.RuntimeCondition {
	if err == nil {
		return &cri.RuntimeCondition{Type: kind, Status: true}
	}
	return &cri.RuntimeCondition{Type: kind, Reason: reason, Message: bounded(err.Error())}
}

// info is the verbose part of a reply: each value is JSON.
func info(values map[string]any) (map[string]string, error) {
	out := make(map[string]string, len(values))
	for key, v := range values {
		text, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("verbose information %q: %w", key, err)
		}
		out[key] = string(text)
	}
	return out, nil
}
