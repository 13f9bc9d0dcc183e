package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/leak"
	"slipway/test/machine"
)

// leftovers removes the pods that failed specs left, and then looks twice:
// with the daemon idle again, and after its orderly end.
func leftovers(ctx context.Context, setup *machine.Setup, daemon *machine.Daemon, scope leak.Scope, idle, outside leak.Snapshot) (bool, error) {
	n, err := removePods(ctx, setup.Socket)
	if n > 0 {
		fmt.Printf("critest: specs left %d pods, now removed\n", n)
	}
	if err != nil {
		return false, err
	}
	left, err := idle.Settled(ctx, scope, 10*time.Second)
	if err != nil {
		return false, err
	}
	show("with the daemon idle", left)
	if err := daemon.Stop(); err != nil {
		return false, err
	}
	scope.Dirs, scope.FDs = nil, false // records and images stay
	after, err := outside.Without("file", "fd").Settled(ctx, scope, 20*time.Second)
	if err != nil {
		return false, err
	}
	show("after the daemon's end", after)
	if len(left)+len(after) == 0 {
		fmt.Println("critest: nothing left: no mount, namespace, cgroup, address, process, rule or file")
	}
	return len(left)+len(after) == 0, nil
}

func show(when string, left []string) {
	const most = 40
	for i, finding := range left {
		if i == most {
			fmt.Printf("critest: LEFT %s: and %d more\n", when, len(left)-most)
			break
		}
		fmt.Printf("critest: LEFT %s: %s\n", when, finding)
	}
}

// removePods removes every pod and says how many there were.
func removePods(ctx context.Context, socket string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	conn, err := dial(socket)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	rt := runtimeapi.NewRuntimeServiceClient(conn)
	pods, err := rt.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return 0, fmt.Errorf("list pods: %w", err)
	}
	var errs []error
	for _, pod := range pods.Items {
		_, stopped := rt.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: pod.Id})
		_, removed := rt.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod.Id})
		errs = append(errs, stopped, removed)
	}
	return len(pods.Items), errors.Join(errs...)
}
