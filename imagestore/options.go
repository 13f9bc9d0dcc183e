package imagestore

import "log/slog"

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
	// MaxLayerBytes bounds one unpacked layer; 0 is 64 GiB.
	MaxLayerBytes int64
	// MinFree is the space in bytes that unpacking leaves free on the disk;
	// 0 is 64 MiB.
	MinFree int64
	// Log gets what a caller is not told: quarantined files, retries. nil
	// discards it.
	Log *slog.Logger
}
