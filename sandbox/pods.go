package sandbox

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"slipway/cni"
	"slipway/imagestore"
	"slipway/oci"
	"slipway/sandbox/cgroup"
	"slipway/sandbox/seccomp"
	"slipway/sandbox/wire"
)

// Options say where a Pods keeps what it makes, and with whose help.
type Options struct {
	Root  string // durable state, such as /var/lib/slipway
	State string // what a reboot may empty, such as /run/slipway

	NetNSDir     string // where network namespaces are bound, such as /run/netns
	CgroupParent string // for pods that name none, such as /slipway
	KeeperBinary string // path of slipway-keeper

	// RejectAbsentSources: a mount's host path at or below one of these is an
	// error when it is missing; any other is made, a directory with mode 0755.
	RejectAbsentSources []string

	CDIDirs  []string           // of the descriptions of CDI devices, the later wins
	Handlers map[string]Handler // by name; "" is how all others are

	Host     oci.Host   // what this host offers to containers
	NoFile   *[2]uint64 // limit of open files (soft, hard) of containers without one of their own; nil: the keeper's
	Images   *imagestore.Store
	Network  *cni.Network
	Cgroups  *cgroup.Tree
	Profiles *seccomp.Cache
	Log      *slog.Logger
}

// Pods is all pod sandboxes and their containers.
//
// Locks, in order, never upward: pod.op, container.op, pod.holders; Pods.mu is
// the last and under it only the feed's is taken.
type Pods struct {
	o    Options
	log  *slog.Logger
	boot string // boot id of the running kernel
	link *link
	cdi  *cdiDevices

	// mu guards the maps below, and is held whole where a snapshot in them is
	// replaced: what is read under it is one moment. Never held over I/O.
	mu         sync.RWMutex
	pods       map[string]*pod
	containers map[string]*container
	making     map[string]*making // by metadata key: what is being made or stands under that name
	execs      map[string]chan wire.Exit

	feed    Feed         // of what becomes of pods and containers
	stamped atomic.Int64 // the last stamp of a view, in ns since 1970

	attached attached // clients of running containers

	background sync.WaitGroup // clean-up that outlives a request
	leftovers  collector
}

// Limits of what goes on when its client has gone away.
const (
	runLimit     = 4 * time.Minute // a kubelet waits as long for RunPodSandbox
	createLimit  = 2 * time.Minute
	cleanupLimit = 30 * time.Second
)

// Where things lie: records below root, what a reboot may empty below state.
func (p *Pods) podsDir() string           { return filepath.Join(p.o.Root, "pods") }
func (p *Pods) podDir(id string) string   { return filepath.Join(p.podsDir(), id) }
func (p *Pods) removingDir() string       { return filepath.Join(p.o.Root, "removing") }
func (p *Pods) stateDir(id string) string { return filepath.Join(p.o.State, "pods", id) }
func (p *Pods) ioDir(id string) string    { return filepath.Join(p.o.State, "io", id) }

func (p *Pods) containerDir(pod, id string) string { return filepath.Join(p.podDir(pod), id) }

// find returns the entry of m whose id is id, or begins with it if just one does.
func find[T any](m map[string]T, what, id string) (T, error) {
	var none T
	if v, ok := m[id]; ok {
		return v, nil
	}
	if id == "" {
		return none, fmt.Errorf("%s: no id given: %w", what, ErrInvalid)
	}
	var found []T
	for k, v := range m {
		if strings.HasPrefix(k, id) {
			found = append(found, v)
		}
	}
	switch len(found) {
	case 0:
		return none, fmt.Errorf("%s %q: %w", what, id, ErrNotFound)
	case 1:
		return found[0], nil
	}
	return none, fmt.Errorf("%s %q: %d ids begin so; give more digits: %w", what, id, len(found), ErrInvalid)
}

func (p *Pods) pod(id string) (*pod, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return find(p.pods, "pod sandbox", id)
}

func (p *Pods) container(id string) (*container, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return find(p.containers, "container", id)
}

// Pod returns the pod sandbox with this id, or the only one whose id begins so.
// Errors: ErrNotFound, ErrInvalid (no id, or several begin so).
func (p *Pods) Pod(id string) (*Pod, error) {
	s, err := p.pod(id)
	if err != nil {
		return nil, err
	}
	return s.snapshot.Load(), nil
}

// Container returns the container with this id, or the only one whose id begins so.
// Errors: ErrNotFound, ErrInvalid (no id, or several begin so).
func (p *Pods) Container(id string) (*Container, error) {
	c, err := p.container(id)
	if err != nil {
		return nil, err
	}
	return c.snapshot.Load(), nil
}

// List returns all pod sandboxes, oldest first.
func (p *Pods) List() []*Pod {
	p.mu.RLock()
	all := make([]*Pod, 0, len(p.pods))
	for _, s := range p.pods {
		all = append(all, s.snapshot.Load())
	}
	p.mu.RUnlock()
	slices.SortFunc(all, func(a, b *Pod) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return all
}

// Containers returns all containers, oldest first.
func (p *Pods) Containers() []*Container {
	p.mu.RLock()
	all := make([]*Container, 0, len(p.containers))
	for _, c := range p.containers {
		all = append(all, c.snapshot.Load())
	}
	p.mu.RUnlock()
	slices.SortFunc(all, func(a, b *Container) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return all
}

// containersOf returns the containers of a pod, in no order.
func (p *Pods) containersOf(pod string) []*container {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var all []*container
	for _, c := range p.containers {
		if c.pod.id == pod {
			all = append(all, c)
		}
	}
	return all
}

// NetworkStatus returns nil when pods can be given a network.
func (p *Pods) NetworkStatus(ctx context.Context) error { return p.o.Network.Status(ctx) }

// NetworkConfig is the network configuration in use, for people to look at.
func (p *Pods) NetworkConfig() any { return p.o.Network.Config() }

// SetPodCIDR tells the network which addresses this node's pods get.
func (p *Pods) SetPodCIDR(cidr string) { p.o.Network.SetPodCIDR(cidr) }

// Close ends the daemon's part in an orderly way: containers go on under the
// keeper, which ends by itself when it holds nothing.
func (p *Pods) Close(ctx context.Context) error {
	done := make(chan struct{})
	go func() { p.leftovers.end(); p.background.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
	return p.link.close(true)
}

// later runs clean-up in the background, bounded, and logs what it says.
func (p *Pods) later(what string, fn func(context.Context) error) {
	p.background.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupLimit)
		defer cancel()
		if err := fn(ctx); err != nil {
			p.log.Warn("clean-up", "what", what, "error", err)
		}
	})
}
