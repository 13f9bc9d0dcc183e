package server

import (
	"context"
	"encoding/json"
	"io"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/imagestore"
	"slipway/sandbox"
)

// Pods is what the server needs of the owner of pods and containers. An id is a
// full one or an unambiguous beginning of one.
type Pods interface {
	RunPod(ctx context.Context, cfg *cri.PodSandboxConfig, handler string) (id string, err error)
	StopPod(ctx context.Context, id string) error
	RemovePod(ctx context.Context, id string) error
	Pod(id string) (*sandbox.Pod, error)
	List() []*sandbox.Pod
	UpdatePodResources(ctx context.Context, id string, overhead, resources *cri.LinuxContainerResources) error
	View(id string) (sandbox.View, error)
	Subscribe() *sandbox.Subscription

	CreateContainer(ctx context.Context, podID string, cfg *cri.ContainerConfig, podCfg *cri.PodSandboxConfig) (id string, err error)
	StartContainer(ctx context.Context, id string) error
	StopContainer(ctx context.Context, id string, grace time.Duration) error
	RemoveContainer(ctx context.Context, id string) error
	Container(id string) (*sandbox.Container, error)
	Containers() []*sandbox.Container

	UpdateResources(ctx context.Context, id string, r *cri.LinuxContainerResources) error
	ReopenLog(ctx context.Context, id string) error
	ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (*sandbox.ExecResult, error)
	Exec(ctx context.Context, id string, cmd []string, tty bool, s sandbox.Streams) (code int, err error)
	Attach(ctx context.Context, id string, s sandbox.Streams) error
	PortForward(ctx context.Context, podID string, port uint16, stream io.ReadWriteCloser) error
	Stats(ctx context.Context, id string) (*sandbox.Stats, error)
	ListStats(ctx context.Context, match func(*sandbox.Container) bool) []*sandbox.Stats
	PodStats(ctx context.Context, id string) (*sandbox.PodStats, error)
	ListPodStats(ctx context.Context, match func(*sandbox.Pod) bool) []*sandbox.PodStats
	PodDetails(ctx context.Context) ([]*sandbox.PodDetail, error)
	Spec(id string) (json.RawMessage, error)

	NetworkStatus(ctx context.Context) error
	NetworkConfig() any
	SetPodCIDR(cidr string)
	KeeperStatus() error
}

// Images is what the server needs of the image store. A ref is a tag, a digest,
// an id or an unambiguous beginning of an id.
type Images interface {
	Pull(ctx context.Context, r imagestore.PullRequest) (imagestore.Image, error)
	Import(ctx context.Context, r io.Reader) ([]imagestore.Image, error)
	Get(ref string) (imagestore.Image, error)
	List() []imagestore.Image
	Remove(ctx context.Context, ref string) error
	FS() (imagestore.FSInfo, error)
}
