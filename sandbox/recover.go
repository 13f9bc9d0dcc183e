package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox/linux"
	"slipway/sandbox/wire"
)

// recoveries bounds how many pods are looked at at a time.
const recoveries = 16

// recover makes the map of pods from the records and from what an adopted
// keeper holds. What is found:
//
//	removing/<id>                         the removal goes on
//	pod.json, neither whole nor stopped   never came to be: undone
//	stopped.json                          not ready; what is left of it is taken away
//	pod.json of another boot              the same, its containers ended by the reboot
//	else                                  ready
//
// Only what decides the state of a pod or container is waited for. What has to
// be taken away may hang, and is taken away in the background.
func (p *Pods) recover(ctx context.Context, there []held) error {
	keeps := make(map[string]*held, len(there))
	for i := range there {
		keeps[there[i].ID] = &there[i]
		defer there[i].close() // what nobody took
	}
	entries, err := os.ReadDir(p.podsDir())
	if err != nil {
		return err
	}
	var wait sync.WaitGroup
	turns := make(chan struct{}, recoveries)
	for _, e := range entries {
		turns <- struct{}{}
		wait.Go(func() {
			p.recoverPod(ctx, e.Name(), keeps)
			<-turns
		})
	}
	wait.Wait()
	p.dropUnknown(ctx, keeps)
	return nil
}

// readPod reads a pod's own records. nil, nil: there never was one.
func (p *Pods) readPod(id string) (*pod, string, error) {
	s := &pod{id: id, dir: p.podDir(id), config: &cri.PodSandboxConfig{}}
	var r podRecord
	switch err := readRecord(s.dir, podFile, &r); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "", os.RemoveAll(s.dir) // died between mkdir and the record
	case err != nil:
		return nil, "", err
	}
	if r.ID != id {
		return nil, "", fmt.Errorf("%s: holds the record of %q", s.dir, r.ID)
	}
	if err := decodeMessage(r.Config, s.config); err != nil {
		return nil, "", fmt.Errorf("%s: %w", filepath.Join(s.dir, podFile), err)
	}
	s.created, s.handler, s.parent = r.Created, r.Handler, orElse(r.CgroupParent, p.o.CgroupParent)
	var err error
	if s.limits, err = readPodLimits(s.dir); err != nil {
		return nil, "", err
	}
	var n netRecord
	switch err := readRecord(s.dir, netFile, &n); {
	case err == nil:
		s.network = &n
	case !errors.Is(err, fs.ErrNotExist):
		return nil, "", err
	}
	return s, r.Boot, nil
}

func (p *Pods) recoverPod(ctx context.Context, id string, keeps map[string]*held) {
	s, boot, err := p.readPod(id)
	if err != nil {
		p.later("a pod sandbox with a bad record", func(ctx context.Context) error {
			return p.quarantinePod(ctx, id, err)
		})
	}
	if s == nil || err != nil {
		return
	}
	p.takeNamespaces(s, keeps)
	stopped := exists(filepath.Join(s.dir, stoppedFile))
	whole := s.network != nil && s.network.State != netAttempting
	if !stopped && !whole {
		p.later("a pod sandbox that never came to be", func(ctx context.Context) error {
			s.op.Lock()
			defer s.op.Unlock()
			p.undoRun(ctx, s)
			return nil
		})
		return
	}
	ready := !stopped && boot == p.boot
	p.publishPod(s, p.describe(s, ready))
	p.made(podKey(s.config.GetMetadata()), &making{
		what: podName(s.config.GetMetadata()), id: s.id, config: s.config,
		fresh: func() bool { return s.snapshot.Load().Ready },
	})
	if ready {
		p.takeReaper(ctx, s, keeps)
	}
	if err := p.recoverContainers(ctx, s, boot, keeps); err != nil {
		p.log.Error("containers of a pod sandbox", "pod", s.id, "error", err)
	}
	if ready {
		if err := p.restorePod(ctx, s); err != nil {
			p.log.Error("a pod sandbox lost its namespaces; it is not ready any more", "pod", s.id, "error", err)
			p.publishPod(s, p.describe(s, false))
		}
		return
	}
	p.later("what is left of a pod sandbox that is not ready", func(ctx context.Context) error {
		s.op.Lock()
		defer s.op.Unlock()
		return p.stopPod(ctx, s)
	})
}

// dropUnknown ends what the keeper holds and no record names: its start was cut
// off before it was written down, so nobody was told of it. Commands of exec
// end too: whoever waited for their output is gone. So do the user namespaces
// that only id maps of a start were read from.
func (p *Pods) dropUnknown(ctx context.Context, keeps map[string]*held) {
	for id, h := range keeps {
		owner, _, _ := strings.Cut(id, "/")
		if p.known(owner) && (id == owner || id == reaperID(owner)) {
			continue
		}
		if fd, ok := h.Fds[wire.FdPidfd]; ok && h.Exit == nil {
			_ = linux.SignalProcess(fd, syscall.SIGKILL)
		}
		if err := p.link.drop(ctx, id); err != nil {
			p.log.Warn("drop what no record names", "id", id, "error", err)
		}
	}
}

// known: a pod or container of this id is there or is being made.
func (p *Pods) known(id string) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.pods[id] != nil || p.containers[id] != nil {
		return true
	}
	for _, m := range p.making {
		if m.id == id {
			return true
		}
	}
	return false
}
