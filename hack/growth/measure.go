package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	maxMessage = 64 << 20        // bytes of a reply; a list of many pods is long
	callTime   = time.Minute     // of one call
	settleTime = 3 * time.Second // between the last pod and the first sample
)

// lab is one run.
type lab struct {
	runtimes []*target
	pods     []int
	samples  int
	image    string
}

// target is a runtime with the pods that this run has made on it.
type target struct {
	name  string
	match *regexp.Regexp
	conn  *grpc.ClientConn
	rt    cri.RuntimeServiceClient
	im    cri.ImageServiceClient
	made  []string
	serve string // a container to exec in
	next  int
}

func connect(name, endpoint, match string) (*target, error) {
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return nil, err
	}
	t := &target{name: name, conn: conn, rt: cri.NewRuntimeServiceClient(conn), im: cri.NewImageServiceClient(conn)}
	if match != "" {
		if t.match, err = regexp.Compile(match); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (l *lab) run(ctx context.Context) (_ *result, err error) {
	r := newResult(l.samples)
	defer func() {
		for _, t := range l.runtimes {
			err = errors.Join(err, t.clear(context.WithoutCancel(ctx)))
		}
	}()
	for _, t := range l.runtimes {
		r.Runtimes = append(r.Runtimes, t.name)
		if _, err := t.im.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: l.image}}); err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
	}
	for _, n := range l.pods {
		for _, t := range l.runtimes {
			fmt.Fprintf(os.Stderr, "%s: %d pods\n", t.name, n)
			for len(t.made) < n {
				if _, err := t.life(ctx, l.image, true); err != nil {
					return nil, fmt.Errorf("%s with %d pods: %w", t.name, len(t.made), err)
				}
			}
		}
		time.Sleep(settleTime)
		if err := l.measure(ctx, r, n); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// steps are what is timed, in this order in the picture.
var steps = []string{"RunPodSandbox", "Create + StartContainer", "ExecSync", "ListPodSandbox", "ListContainers", "ListContainerStats"}

// measure takes samples of all runtimes by turns.
func (l *lab) measure(ctx context.Context, r *result, pods int) error {
	all := make([]map[string][]float64, len(l.runtimes))
	for i := range all {
		all[i] = map[string][]float64{}
	}
	for sample := -1; sample < l.samples; sample++ { // the first warms up
		for i, t := range l.runtimes {
			times, err := t.sample(ctx, l.image)
			if err != nil {
				return fmt.Errorf("%s with %d pods: %w", t.name, pods, err)
			}
			for name, ms := range times {
				if sample >= 0 {
					all[i][name] = append(all[i][name], ms)
				}
			}
		}
	}
	for _, name := range steps {
		for i, t := range l.runtimes {
			r.add(name, "ms", t.name, pods, all[i][name])
		}
	}
	for _, t := range l.runtimes {
		if t.match != nil {
			r.add("memory (PSS)", "MiB", t.name, pods, []float64{pss(t.match)})
		}
	}
	return nil
}

func (t *target) sample(ctx context.Context, image string) (map[string]float64, error) {
	times, err := t.life(ctx, image, false)
	if err != nil {
		return nil, err
	}
	for name, do := range map[string]func(context.Context) error{
		"ExecSync": func(ctx context.Context) error {
			reply, err := t.rt.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: t.serve, Cmd: []string{"/bin/true"}, Timeout: 30})
			if err == nil && reply.ExitCode != 0 {
				err = fmt.Errorf("exec ended with %d", reply.ExitCode)
			}
			return err
		},
		"ListPodSandbox": func(ctx context.Context) error {
			_, err := t.rt.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
			return err
		},
		"ListContainers": func(ctx context.Context) error {
			_, err := t.rt.ListContainers(ctx, &cri.ListContainersRequest{})
			return err
		},
		"ListContainerStats": func(ctx context.Context) error {
			_, err := t.rt.ListContainerStats(ctx, &cri.ListContainerStatsRequest{})
			return err
		},
	} {
		if times[name], err = timed(ctx, do); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return times, nil
}

// timed returns milliseconds.
func timed(ctx context.Context, do func(context.Context) error) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	start := time.Now()
	err := do(ctx)
	return float64(time.Since(start).Microseconds()) / 1000, err
}

// life runs a pod with one container, and keeps or removes it.
func (t *target) life(ctx context.Context, image string, keep bool) (map[string]float64, error) {
	t.next++
	name := "growth-" + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(t.next)
	pod := &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: name, Namespace: "growth", Uid: name}, Hostname: name,
		Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{}},
	}
	ctr := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "main"}, Image: &cri.ImageSpec{Image: image},
		Command: []string{"/bin/sleep", "1000000"}, Linux: &cri.LinuxContainerConfig{},
	}
	times := map[string]float64{}
	var id, cid string
	var err error
	times["RunPodSandbox"], err = timed(ctx, func(ctx context.Context) error {
		reply, err := t.rt.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: pod})
		id = reply.GetPodSandboxId()
		return err
	})
	if err != nil {
		return nil, err
	}
	t.made = append(t.made, id)
	times["Create + StartContainer"], err = timed(ctx, func(ctx context.Context) error {
		reply, err := t.rt.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: id, Config: ctr, SandboxConfig: pod})
		if err != nil {
			return err
		}
		cid = reply.ContainerId
		_, err = t.rt.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: cid})
		return err
	})
	if err != nil {
		return nil, err
	}
	if keep {
		t.serve = cid
		return times, nil
	}
	t.made = t.made[:len(t.made)-1]
	return times, t.remove(ctx, id)
}

func (t *target) remove(ctx context.Context, id string) error {
	_, err := timed(ctx, func(ctx context.Context) error {
		if _, err := t.rt.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
			return err
		}
		_, err := t.rt.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: id})
		return err
	})
	return err
}

func (t *target) clear(ctx context.Context) error {
	var failed error
	for _, id := range t.made {
		failed = errors.Join(failed, t.remove(ctx, id))
	}
	t.made = nil
	return failed
}
