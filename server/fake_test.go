package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/imagestore"
	"slipway/sandbox"
)

// fakePods answers from its fields and writes down what it was asked.
type fakePods struct {
	pods       []*sandbox.Pod
	containers []*sandbox.Container
	spec       json.RawMessage
	stats      map[string]*sandbox.Stats
	podStats   []*sandbox.PodStats
	details    []*sandbox.PodDetail
	fail       error // of every request that does something
	netErr     error
	keeperErr  error
	act        func() // run by every request that does something
	feed       sandbox.Feed

	mu    sync.Mutex
	calls []string
}

func (f *fakePods) did(format string, args ...any) error {
	f.mu.Lock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	f.mu.Unlock()
	if f.act != nil {
		f.act()
	}
	return f.fail
}

func (f *fakePods) RunPod(_ context.Context, cfg *cri.PodSandboxConfig, handler string) (string, error) {
	return "newpod", f.did("RunPod %s %q", cfg.GetMetadata().GetName(), handler)
}
func (f *fakePods) StopPod(_ context.Context, id string) error   { return f.did("StopPod %s", id) }
func (f *fakePods) RemovePod(_ context.Context, id string) error { return f.did("RemovePod %s", id) }
func (f *fakePods) List() []*sandbox.Pod                         { return f.pods }
func (f *fakePods) Pod(id string) (*sandbox.Pod, error) {
	for _, p := range f.pods {
		if strings.HasPrefix(p.ID, id) {
			return p, nil
		}
	}
	return nil, fmt.Errorf("pod sandbox %q: %w", id, sandbox.ErrNotFound)
}

// View is of all containers of the pod, at the time of the samples.
func (f *fakePods) View(id string) (sandbox.View, error) {
	p, err := f.Pod(id)
	v := sandbox.View{Pod: p, At: at}
	for _, c := range f.containers {
		if err == nil && c.PodID == p.ID {
			v.Containers = append(v.Containers, c)
		}
	}
	return v, err
}
func (f *fakePods) Subscribe() *sandbox.Subscription { return f.feed.Subscribe() }

func (f *fakePods) CreateContainer(_ context.Context, pod string, cfg *cri.ContainerConfig, _ *cri.PodSandboxConfig) (string, error) {
	return "newcontainer", f.did("CreateContainer %s %s", pod, cfg.GetMetadata().GetName())
}

func (f *fakePods) StartContainer(_ context.Context, id string) error {
	return f.did("StartContainer %s", id)
}

func (f *fakePods) StopContainer(_ context.Context, id string, grace time.Duration) error {
	return f.did("StopContainer %s %s", id, grace)
}

func (f *fakePods) RemoveContainer(_ context.Context, id string) error {
	return f.did("RemoveContainer %s", id)
}
func (f *fakePods) Containers() []*sandbox.Container { return f.containers }
func (f *fakePods) Container(id string) (*sandbox.Container, error) {
	for _, c := range f.containers {
		if strings.HasPrefix(c.ID, id) {
			return c, nil
		}
	}
	return nil, fmt.Errorf("container %q: %w", id, sandbox.ErrNotFound)
}

func (f *fakePods) UpdatePodResources(_ context.Context, id string, o, r *cri.LinuxContainerResources) error {
	return f.did("UpdatePodResources %s %d %d", id, o.GetMemoryLimitInBytes(), r.GetMemoryLimitInBytes())
}

func (f *fakePods) UpdateResources(_ context.Context, id string, r *cri.LinuxContainerResources) error {
	return f.did("UpdateResources %s %d", id, r.GetMemoryLimitInBytes())
}

func (f *fakePods) ReopenLog(_ context.Context, id string) error { return f.did("ReopenLog %s", id) }

func (f *fakePods) ExecSync(_ context.Context, id string, cmd []string, timeout time.Duration) (*sandbox.ExecResult, error) {
	if err := f.did("ExecSync %s %v %s", id, cmd, timeout); err != nil {
		return nil, err
	}
	return &sandbox.ExecResult{Stdout: []byte("out"), Stderr: []byte("err"), Code: 3}, nil
}

// Exec echoes its input.
func (f *fakePods) Exec(_ context.Context, id string, cmd []string, tty bool, s sandbox.Streams) (int, error) {
	if err := f.did("Exec %s %v %v", id, cmd, tty); err != nil {
		return 0, err
	}
	_, err := io.Copy(s.Out, s.In)
	return 3, err
}

// Attach echoes its input.
func (f *fakePods) Attach(_ context.Context, id string, s sandbox.Streams) error {
	if err := f.did("Attach %s", id); err != nil {
		return err
	}
	_, err := io.Copy(s.Out, s.In)
	return err
}

// PortForward echoes what it gets.
func (f *fakePods) PortForward(_ context.Context, id string, port uint16, stream io.ReadWriteCloser) error {
	if err := f.did("PortForward %s %d", id, port); err != nil {
		return err
	}
	_, err := io.Copy(stream, stream)
	return err
}

func (f *fakePods) Stats(_ context.Context, id string) (*sandbox.Stats, error) {
	if s := f.stats[id]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("container %q: %w", id, sandbox.ErrNotFound)
}

func (f *fakePods) ListStats(_ context.Context, match func(*sandbox.Container) bool) (all []*sandbox.Stats) {
	for _, c := range f.containers {
		if s := f.stats[c.ID]; s != nil && match(c) {
			all = append(all, s)
		}
	}
	return all
}

func (f *fakePods) PodStats(_ context.Context, id string) (*sandbox.PodStats, error) {
	for _, s := range f.podStats {
		if s.Pod.ID == id {
			return s, nil
		}
	}
	return nil, fmt.Errorf("pod sandbox %q: %w", id, sandbox.ErrNotFound)
}

func (f *fakePods) ListPodStats(_ context.Context, match func(*sandbox.Pod) bool) (all []*sandbox.PodStats) {
	for _, s := range f.podStats {
		if match(s.Pod) {
			all = append(all, s)
		}
	}
	return all
}

func (f *fakePods) PodDetails(context.Context) ([]*sandbox.PodDetail, error) {
	return f.details, f.fail
}
func (f *fakePods) Spec(string) (json.RawMessage, error) { return f.spec, nil }

func (f *fakePods) NetworkStatus(context.Context) error { return f.netErr }
func (f *fakePods) NetworkConfig() any                  { return map[string]string{"name": "testnet"} }
func (f *fakePods) SetPodCIDR(cidr string)              { _ = f.did("SetPodCIDR %s", cidr) }
func (f *fakePods) KeeperStatus() error                 { return f.keeperErr }

// fakeImages does the same for images.
type fakeImages struct {
	images []imagestore.Image
	fail   error
	pulled imagestore.PullRequest
	read   []byte // of the last Import
}

func (f *fakeImages) Pull(_ context.Context, r imagestore.PullRequest) (imagestore.Image, error) {
	f.pulled = r
	if f.fail != nil {
		return imagestore.Image{}, f.fail
	}
	return f.images[0], nil
}

func (f *fakeImages) Import(_ context.Context, r io.Reader) (images []imagestore.Image, err error) {
	if f.read, err = io.ReadAll(r); err != nil {
		return nil, fmt.Errorf("read tar: %w", err)
	}
	return f.images, f.fail
}

func (f *fakeImages) Get(ref string) (imagestore.Image, error) {
	if f.fail != nil {
		return imagestore.Image{}, f.fail
	}
	for _, img := range f.images {
		for _, name := range append(append([]string{img.ID}, img.Tags...), img.Digests...) {
			if name == ref {
				return img, nil
			}
		}
	}
	return imagestore.Image{}, fmt.Errorf("image %q: %w", ref, imagestore.ErrNotFound)
}

func (f *fakeImages) List() []imagestore.Image { return f.images }
func (f *fakeImages) Remove(_ context.Context, ref string) error {
	_, err := f.Get(ref)
	return err
}

func (f *fakeImages) FS() (imagestore.FSInfo, error) {
	return imagestore.FSInfo{Mountpoint: "/var/lib/slipway/images", Bytes: 1 << 20, Inodes: 17}, nil
}
