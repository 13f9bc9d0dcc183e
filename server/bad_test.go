package server

import (
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
)

// What cannot be meant is refused before anything is done, and the message
// names the field.
func TestBadRequests(t *testing.T) {
	s := serve(t, &fakePods{containers: []*sandbox.Container{sampleContainer(ctrA, podA, sandbox.Running)}}, &fakeImages{})
	noPodState := &cri.PodSandboxFilter{State: &cri.PodSandboxStateValue{State: 7}}
	noState := &cri.ContainerFilter{State: &cri.ContainerStateValue{State: -1}}
	for name, tt := range map[string]struct {
		method    string
		req, resp proto.Message
		names     string // part of the message
	}{
		"no pod config":        {cri.RuntimeService_RunPodSandbox_FullMethodName, &cri.RunPodSandboxRequest{}, &cri.RunPodSandboxResponse{}, "config"},
		"no container config":  {cri.RuntimeService_CreateContainer_FullMethodName, &cri.CreateContainerRequest{PodSandboxId: podA}, &cri.CreateContainerResponse{}, "config"},
		"negative grace":       {cri.RuntimeService_StopContainer_FullMethodName, &cri.StopContainerRequest{ContainerId: ctrA, Timeout: -1}, &cri.StopContainerResponse{}, "timeout"},
		"negative exec limit":  {cri.RuntimeService_ExecSync_FullMethodName, &cri.ExecSyncRequest{ContainerId: ctrA, Cmd: []string{"a"}, Timeout: -1}, &cri.ExecSyncResponse{}, "timeout"},
		"no command":           {cri.RuntimeService_ExecSync_FullMethodName, &cri.ExecSyncRequest{ContainerId: ctrA}, &cri.ExecSyncResponse{}, "command"},
		"no resources":         {cri.RuntimeService_UpdateContainerResources_FullMethodName, &cri.UpdateContainerResourcesRequest{ContainerId: ctrA}, &cri.UpdateContainerResourcesResponse{}, "linux"},
		"windows resources":    {cri.RuntimeService_UpdateContainerResources_FullMethodName, &cri.UpdateContainerResourcesRequest{ContainerId: ctrA, Linux: &cri.LinuxContainerResources{}, Windows: &cri.WindowsContainerResources{}}, &cri.UpdateContainerResourcesResponse{}, "windows"},
		"unknown pod state":    {cri.RuntimeService_ListPodSandbox_FullMethodName, &cri.ListPodSandboxRequest{Filter: noPodState}, &cri.ListPodSandboxResponse{}, "state 7"},
		"unknown state":        {cri.RuntimeService_ListContainers_FullMethodName, &cri.ListContainersRequest{Filter: noState}, &cri.ListContainersResponse{}, "state -1"},
		"streamed pod state":   {cri.RuntimeService_StreamPodSandboxes_FullMethodName, &cri.StreamPodSandboxesRequest{Filter: noPodState}, &cri.StreamPodSandboxesResponse{}, "state 7"},
		"streamed state":       {cri.RuntimeService_StreamContainers_FullMethodName, &cri.StreamContainersRequest{Filter: noState}, &cri.StreamContainersResponse{}, "state -1"},
		"address range":        {cri.RuntimeService_UpdateRuntimeConfig_FullMethodName, &cri.UpdateRuntimeConfigRequest{RuntimeConfig: &cri.RuntimeConfig{NetworkConfig: &cri.NetworkConfig{PodCidr: "10.0.0.0/24,nonsense"}}}, &cri.UpdateRuntimeConfigResponse{}, "pod_cidr"},
		"not an address range": {cri.RuntimeService_UpdateRuntimeConfig_FullMethodName, &cri.UpdateRuntimeConfigRequest{RuntimeConfig: &cri.RuntimeConfig{NetworkConfig: &cri.NetworkConfig{PodCidr: "10.0.0.1"}}}, &cri.UpdateRuntimeConfigResponse{}, "pod_cidr"},
	} {
		var err error
		if strings.Contains(tt.method, "/Stream") {
			var stream grpc.ClientStream
			if stream, err = s.conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, tt.method); err == nil {
				_ = stream.SendMsg(tt.req)
				_ = stream.CloseSend()
				err = stream.RecvMsg(tt.resp)
			}
		} else {
			err = s.conn.Invoke(t.Context(), tt.method, tt.req, tt.resp)
		}
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), tt.names) {
			t.Errorf("%s: %v; want InvalidArgument with %q", name, err, tt.names)
		}
	}
	if len(s.pods.calls) > 0 {
		t.Errorf("something was done: %q", s.pods.calls)
	}
}
