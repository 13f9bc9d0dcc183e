package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func dial(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// warmUp runs one pod with a container and removes both and the image, so that
// what a daemon makes once (its second process, pipes, the network's bridge) is
// there when the leak check looks first, and what a pod has is not.
func warmUp(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := dial(socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	before, err := links()
	if err != nil {
		return err
	}
	rt, im := runtimeapi.NewRuntimeServiceClient(conn), runtimeapi.NewImageServiceClient(conn)
	image := &runtimeapi.ImageSpec{Image: "registry.k8s.io/pause:3.9"}
	if _, err := im.PullImage(ctx, &runtimeapi.PullImageRequest{Image: image}); err != nil {
		return err
	}
	pod := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "warm-up", Namespace: "critest", Uid: "warm-up"},
		Linux:    &runtimeapi.LinuxPodSandboxConfig{},
	}
	ran, err := rt.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: pod})
	if err != nil {
		return err
	}
	ctr, err := rt.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{
		PodSandboxId:  ran.PodSandboxId,
		SandboxConfig: pod,
		Config: &runtimeapi.ContainerConfig{
			Metadata: &runtimeapi.ContainerMetadata{Name: "warm-up"},
			Image:    image,
			Linux:    &runtimeapi.LinuxContainerConfig{},
		},
	})
	if err != nil {
		return err
	}
	if _, err := rt.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: ctr.ContainerId}); err != nil {
		return err
	}
	if _, err := removePods(ctx, socket); err != nil {
		return err
	}
	if _, err = im.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: image}); err != nil {
		return err
	}
	return linkGone(ctx, before)
}

// linkGone waits for the end of the pod's link: the kernel takes it away some
// time after the pod's namespace.
func linkGone(ctx context.Context, before []string) error {
	for {
		now, err := links()
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(now, func(l string) bool { return strings.HasPrefix(l, "veth") && !slices.Contains(before, l) }) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the warm-up's link stays: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// links are the names of the network devices here.
func links() ([]string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, l := range all {
		names = append(names, l.Name)
	}
	return names, nil
}
