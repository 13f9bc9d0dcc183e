package imagestore

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"slipway/imagestore/layer"
)

// Options say where a store lives and how far it goes. Root is needed; every
// other zero value works.
type Options struct {
	// Root is the directory that holds images/ and containers/.
	Root string
	// RegistryDir holds <host>/hosts.toml, as containerd has them; "" is none.
	RegistryDir string
	// Platform chooses from an index, "linux/arm64/v8"; "" is this machine's.
	Platform string
	// Pinned are normalized names of images that must not be collected; a last
	// "*" stands for anything.
	Pinned []string
	// MaxLayers is how many layers an image may have; 0 is 128.
	MaxLayers int
	// MaxLayerBytes bounds one unpacked layer, and one imported archive; 0 is
	// 64 GiB.
	MaxLayerBytes int64
	// MinFree is the space in bytes that unpacking leaves free on the disk;
	// 0 is 64 MiB.
	MinFree int64
	// Parallel is how many layers of one image are fetched and unpacked at a
	// time; 0 is the number of CPUs, but at least 3.
	Parallel int
	// Idle is how long a registry may be silent in a reply; 0 is 60 s.
	Idle time.Duration
	// UsageAge is how old a container's usage may be before it is counted
	// again; 0 is 10 s.
	UsageAge time.Duration
	// Log gets what a caller is not told: quarantined files, retries. nil
	// discards it.
	Log *slog.Logger
}

func (o Options) complete() (Options, error) {
	if o.Root == "" {
		return o, fmt.Errorf("image store without a root: %w", ErrInvalid)
	}
	var err error
	if o.Root, err = filepath.Abs(o.Root); err != nil {
		return o, err
	}
	if o.MaxLayers <= 0 {
		o.MaxLayers = 128
	}
	if o.MaxLayerBytes <= 0 {
		o.MaxLayerBytes = 64 << 30
	}
	if o.MinFree <= 0 {
		o.MinFree = 64 << 20
	}
	if o.Parallel <= 0 {
		o.Parallel = defaultParallel()
	}
	if o.UsageAge <= 0 {
		o.UsageAge = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

func (o Options) limits() layer.Limits {
	return layer.Limits{Bytes: o.MaxLayerBytes, MinFree: o.MinFree}
}
