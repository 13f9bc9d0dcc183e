package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sourceLimit bounds a look at one mount source: a dead network file system
// must not hold up more than the container that asks for it.
const sourceLimit = 10 * time.Second

// makeSources makes the host paths that are missing, as directories with mode
// 0755, unless the configuration says that they are an error.
func (p *Pods) makeSources(ctx context.Context, cfg *cri.ContainerConfig) error {
	for _, m := range cfg.GetMounts() {
		if m.GetHostPath() == "" {
			continue
		}
		if err := p.makeSource(ctx, m.GetHostPath()); err != nil {
			return fmt.Errorf("mount of %q at %q: %w", m.GetHostPath(), m.GetContainerPath(), err)
		}
	}
	return nil
}

func (p *Pods) makeSource(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, sourceLimit)
	defer cancel()
	seen := make(chan error, 1)
	go func() { // ends when the file system answers
		_, err := os.Stat(path)
		seen <- err
	}()
	select {
	case err := <-seen:
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	case <-ctx.Done():
		return fmt.Errorf("its file system has not answered for %s: %w", sourceLimit, ctx.Err())
	}
	if !p.mayMake(path) {
		return fmt.Errorf("it does not exist, and the configuration forbids making it (absent_mount_sources): %w", ErrInvalid)
	}
	return os.MkdirAll(path, 0o755)
}

// mayMake: not at or below a path that the configuration names.
func (p *Pods) mayMake(path string) bool {
	for _, no := range p.o.RejectAbsentSources {
		rel, err := filepath.Rel(no, path)
		if err == nil && filepath.IsLocal(rel) {
			return false
		}
	}
	return true
}
