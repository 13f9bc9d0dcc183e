package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// podConfig and containerConfig are what a kubelet would ask for.
func (d *demo) podConfig() *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: "hello", Namespace: "demo", Uid: "4f1c2ab0"},
		Hostname:     "hello",
		Labels:       labels(),
		LogDirectory: filepath.Join(d.setup.Dir, "logs"),
		PortMappings: []*runtimeapi.PortMapping{{ContainerPort: 8080, HostPort: 8080}},
		Linux:        &runtimeapi.LinuxPodSandboxConfig{},
	}
}

func (d *demo) containerConfig() *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "web"},
		Image:    &runtimeapi.ImageSpec{Image: d.image},
		LogPath:  "web.log",
		Labels:   labels(),
		Linux: &runtimeapi.LinuxContainerConfig{
			Resources: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, CpuShares: 256},
		},
	}
}

// labels are the kubelet's; crictl shows a container's pod by them.
func labels() map[string]string {
	return map[string]string{
		"io.kubernetes.pod.name":       "hello",
		"io.kubernetes.pod.namespace":  "demo",
		"io.kubernetes.container.name": "web",
	}
}

func (d *demo) status(ctx context.Context) error {
	return d.show.step("status", "crictl info", func() (string, error) {
		v, err := d.runtime.Version(ctx, &runtimeapi.VersionRequest{})
		if err != nil {
			return "", err
		}
		for { // the network is ready when its configuration has been read
			s, err := d.runtime.Status(ctx, &runtimeapi.StatusRequest{})
			if err != nil {
				return "", err
			}
			waiting := ""
			for _, c := range s.Status.Conditions {
				if (c.Type == "RuntimeReady" || c.Type == "NetworkReady") && !c.Status {
					waiting = c.Type + ": " + c.Message
				}
			}
			if waiting == "" {
				return fmt.Sprintf("%s %s: runtime ready, network ready", v.RuntimeName, v.RuntimeVersion), nil
			}
			select {
			case <-ctx.Done():
				return "", errors.New(waiting)
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
}

func (d *demo) pull(ctx context.Context) error {
	return d.show.step("pull", "crictl pull "+d.image, func() (string, error) {
		r, err := d.runtime.PullImage(ctx, &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: d.image}})
		if err != nil {
			return "", err
		}
		s, err := d.runtime.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: r.ImageRef}})
		if err != nil {
			return "", err
		}
		if s.Image == nil {
			return "", fmt.Errorf("image %q is not there after its pull", r.ImageRef)
		}
		return fmt.Sprintf("image %s, %.1f MB", short(s.Image.Id), float64(s.Image.Size)/1e6), nil
	})
}

func (d *demo) runPod(ctx context.Context) error {
	if err := os.MkdirAll(d.podConfig().LogDirectory, 0o755); err != nil {
		return err
	}
	return d.show.step("run a pod", "crictl runp pod.json", func() (string, error) {
		r, err := d.runtime.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: d.podConfig()})
		if err != nil {
			return "", err
		}
		d.pod = r.PodSandboxId
		s, err := d.runtime.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: d.pod})
		if err != nil {
			return "", err
		}
		if d.address = s.Status.GetNetwork().GetIp(); d.address == "" {
			return "", errors.New("the pod has no address")
		}
		return fmt.Sprintf("pod %s at %s", short(d.pod), d.address), nil
	})
}

func (d *demo) startContainer(ctx context.Context) error {
	err := d.show.step("create a container", "crictl create "+short(d.pod)+" container.json pod.json", func() (string, error) {
		r, err := d.runtime.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{
			PodSandboxId: d.pod, Config: d.containerConfig(), SandboxConfig: d.podConfig(),
		})
		if err != nil {
			return "", err
		}
		d.ctr = r.ContainerId
		return "container " + short(d.ctr), nil
	})
	if err != nil {
		return err
	}
	return d.show.step("start it", "crictl start "+short(d.ctr), func() (string, error) {
		if _, err := d.runtime.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: d.ctr}); err != nil {
			return "", err
		}
		s, err := d.runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: d.ctr})
		if err != nil {
			return "", err
		}
		if s.Status.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
			return "", fmt.Errorf("state is %s, exit code %d: %s %s", s.Status.State, s.Status.ExitCode, s.Status.Reason, s.Status.Message)
		}
		return "running", nil
	})
}

// web asks the pod for its page, at its own address and at the host's port.
func (d *demo) web(ctx context.Context) error {
	for _, at := range []struct{ name, url string }{
		{"its web page", "http://" + d.address + ":8080/"},
		{"by the host port", "http://127.0.0.1:8080/host-port"},
	} {
		if err := d.show.step(at.name, "curl "+at.url, func() (string, error) {
			return get(ctx, at.url)
		}); err != nil {
			return err
		}
	}
	return nil
}

// get fetches a page; the server may need a moment to listen.
func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return "", err
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			defer res.Body.Close()
			body, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
			if err != nil || res.StatusCode != http.StatusOK {
				return "", errors.Join(err, errors.New(res.Status))
			}
			return strings.TrimSpace(string(body)), nil
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (d *demo) logFile() string { return filepath.Join(d.podConfig().LogDirectory, "web.log") }

// logs shows the log file as the kubelet finds it; the last request may still
// be on its way there.
func (d *demo) logs(ctx context.Context) error {
	file := d.logFile()
	return d.show.step("its log", "crictl logs "+short(d.ctr), func() (string, error) {
		deadline := time.Now().Add(5 * time.Second)
		for {
			data, err := os.ReadFile(file)
			if err == nil && strings.Contains(string(data), "/host-port") {
				return file + "\n" + string(data), nil
			}
			if time.Now().After(deadline) || ctx.Err() != nil {
				return "", errors.Join(err, ctx.Err(), fmt.Errorf("the request is not in %s:\n%s", file, data))
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}

func (d *demo) exec(ctx context.Context) error {
	return d.show.step("exec in it", "crictl exec -s "+short(d.ctr)+" /app whoami", func() (string, error) {
		r, err := d.runtime.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: d.ctr, Cmd: []string{"/app", "whoami"}, Timeout: 10})
		if err != nil {
			return "", err
		}
		if r.ExitCode != 0 {
			return "", fmt.Errorf("exit code %d: %s", r.ExitCode, r.Stderr)
		}
		return string(r.Stdout), nil
	})
}

func (d *demo) stats(ctx context.Context) error {
	return d.show.step("its stats", "crictl stats "+short(d.ctr), func() (string, error) {
		r, err := d.runtime.ContainerStats(ctx, &runtimeapi.ContainerStatsRequest{ContainerId: d.ctr})
		if err != nil {
			return "", err
		}
		cpu, mem := r.Stats.GetCpu().GetUsageCoreNanoSeconds().GetValue(), r.Stats.GetMemory().GetWorkingSetBytes().GetValue()
		if cpu == 0 || mem == 0 {
			return "", fmt.Errorf("cpu %d ns, memory %d bytes: not measured", cpu, mem)
		}
		return fmt.Sprintf("cpu %.1f ms, memory %.1f MB of 64", float64(cpu)/1e6, float64(mem)/(1<<20)), nil
	})
}

func (d *demo) remove(ctx context.Context) error {
	err := d.show.step("stop the pod", "crictl stopp "+short(d.pod), func() (string, error) {
		_, err := d.runtime.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: d.ctr, Timeout: 10})
		if err != nil {
			return "", err
		}
		s, err := d.runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: d.ctr})
		if err != nil {
			return "", err
		}
		if _, err := d.runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: d.pod}); err != nil {
			return "", err
		}
		return fmt.Sprintf("the container heard SIGTERM and ended with %d", s.Status.ExitCode), nil
	})
	if err != nil {
		return err
	}
	err = d.show.step("remove the pod", "crictl rmp "+short(d.pod), func() (string, error) {
		_, err := d.runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: d.pod})
		return "with its container", err
	})
	if err != nil {
		return err
	}
	return d.show.step("remove the image", "crictl rmi "+d.image, func() (string, error) {
		_, err := d.runtime.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: d.image}})
		return "with its layers", err
	})
}
