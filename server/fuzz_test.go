package server

import (
	"log/slog"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/imagestore"
	"slipway/sandbox"
)

// FuzzRequests asks each request that has one answer with any message, of pods
// and containers that were made of any configuration: none ends in a fault, and
// each answer can be sent.
func FuzzRequests(f *testing.F) {
	pod, container := samplePod(podA, true).Config, sampleContainer(ctrA, podA, sandbox.Running).Config
	for i := range uint8(len(unary())) {
		f.Add(i, []byte(nil), []byte(nil), []byte(nil))
		f.Add(i, wire(f, &cri.PodSandboxStatusRequest{PodSandboxId: podA, Verbose: true}), wire(f, pod), wire(f, container))
	}
	f.Fuzz(func(t *testing.T, method uint8, request, podConfig, containerConfig []byte) {
		pod, c := samplePod(podA, len(request)%2 == 0), sampleContainer(ctrA, podA, sandbox.State(len(request)%3))
		pod.Config, c.Config = &cri.PodSandboxConfig{}, &cri.ContainerConfig{}
		if proto.Unmarshal(podConfig, pod.Config) != nil || proto.Unmarshal(containerConfig, c.Config) != nil {
			return
		}
		for i := range len(c.Config.GetMounts()) {
			c.VolumeImages = map[string]string{c.Config.GetMounts()[i].GetContainerPath(): imgA}
		}
		log := slog.New(slog.DiscardHandler)
		pods := &fakePods{pods: []*sandbox.Pod{pod}, containers: []*sandbox.Container{c}}
		images := &fakeImages{images: []imagestore.Image{sampleImage()}}
		servers := map[bool]any{
			false: &runtimeService{o: Options{Log: log, Config: func() any { return nil }}, pods: pods},
			true:  &imageService{images: images},
		}
		all := unary()
		m := all[int(method)%len(all)]
		decode := func(in any) error {
			if err := proto.Unmarshal(request, in.(proto.Message)); err != nil {
				return status.Error(codes.InvalidArgument, err.Error())
			}
			return nil
		}
		resp, err := m.Handler(servers[m.image], t.Context(), decode, mapUnary(log))
		if code := status.Code(err); code == codes.Internal || code == codes.Unknown {
			t.Fatalf("%s: %v", m.MethodName, err)
		}
		if err == nil {
			if _, err := proto.Marshal(resp.(proto.Message)); err != nil {
				t.Errorf("%s: the answer cannot be sent: %v", m.MethodName, err)
			}
		}
	})
}

// method is one request of either service.
type method struct {
	grpc.MethodDesc
	image bool
}

func unary() []method {
	var all []method
	for _, m := range cri.RuntimeService_ServiceDesc.Methods {
		all = append(all, method{m, false})
	}
	for _, m := range cri.ImageService_ServiceDesc.Methods {
		all = append(all, method{m, true})
	}
	return all
}

func wire(f *testing.F, m proto.Message) []byte {
	f.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	return b
}
