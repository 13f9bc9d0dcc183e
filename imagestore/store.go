package imagestore

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/containerd/platforms"

	"slipway/imagestore/blob"
	"slipway/imagestore/layer"
	"slipway/imagestore/registry"
)

// A Store is the images of a node and the writable layers of its containers.
// Its methods may be called at the same time. One process has it open.
type Store struct {
	o        Options
	log      *slog.Logger
	platform platforms.MatchComparer
	spec     string // the platform, for errors
	blobs    *blob.Store
	decoder  *layer.Decoder
	client   *registry.Client

	base  context.Context // of everything that outlives a request; ends with Close
	end   context.CancelFunc
	work  sync.WaitGroup // goroutines under base
	pulls *group[Image]
	fetch *group[string] // layers by chain id; the value is a layer key, held
	trash *trash
	boot  string // of this kernel; "" if it does not tell

	settler   *settler
	unsettled map[string]bool // layers that load has removed, by key

	// disk is held while names, blobs and layers come and go as files, so that
	// what is collected and what is committed never cross. Small I/O only: no
	// network, no unpacking, no walk. Before mu.
	disk sync.Mutex

	// mu guards the maps; never over I/O.
	mu     sync.Mutex
	images map[string]*image      // by id
	names  map[string]*nameRecord // by normalized name
	layers map[string]*layerDir   // by key
	roots  map[string]*root       // by container id

	// view is what List and Get see; replaced whole by publish, never changed.
	view  atomic.Pointer[view]
	usage *usageCache
}

// image is an image record and what was read to go with it.
type image struct {
	imageRecord
	config configFile
	files  map[string][]byte // what ReadFile remembers; guarded by Store.mu
}

// layerDir is an unpacked layer below layers/.
type layerDir struct {
	layerRecord
	key  string
	refs int // images, container roots and pulls that need it; guarded by Store.mu
}

// Open opens the store below o.Root and makes what is missing. It cleans up
// after a crash: what was half made goes, what cannot be read is moved to
// quarantine and logged. It fails only if the directory itself is unusable.
func Open(ctx context.Context, o Options) (*Store, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	s := &Store{
		o: o, log: o.Log, decoder: layer.NewDecoder(),
		client: registry.New(registry.Options{Dir: o.RegistryDir, Log: o.Log, Idle: o.Idle}),
		images: map[string]*image{}, names: map[string]*nameRecord{},
		layers: map[string]*layerDir{}, roots: map[string]*root{},
		boot: bootID(), unsettled: map[string]bool{},
	}
	s.settler = &settler{s: s, pending: map[*layerDir]struct{}{}}
	if err := s.choosePlatform(); err != nil {
		return nil, err
	}
	s.base, s.end = context.WithCancel(context.WithoutCancel(ctx))
	s.pulls = newGroup[Image](s.base, &s.work, nil)
	s.fetch = newGroup(s.base, &s.work, func(key string) { s.release([]string{key}) })
	s.trash = newTrash(s.base, &s.work, o.Log)
	s.usage = newUsageCache(s)
	if err := s.load(ctx); err != nil {
		s.end()
		s.work.Wait()
		_ = s.settler.close()
		return nil, fmt.Errorf("open image store %q: %w", o.Root, err)
	}
	return s, nil
}

// Close cancels what goes on and waits for it, and until what was pulled is on
// the disk. What could not be removed in time is removed by the next Open.
func (s *Store) Close() error {
	s.end()
	s.work.Wait()
	return s.settler.close()
}

func (s *Store) choosePlatform() error {
	p := platforms.DefaultSpec()
	if s.o.Platform != "" {
		var err error
		if p, err = platforms.Parse(s.o.Platform); err != nil {
			return fmt.Errorf("platform %q: %w: %w", s.o.Platform, ErrInvalid, err)
		}
	}
	s.platform, s.spec = platforms.Only(p), platforms.Format(p)
	return nil
}

// Directories below the root.
func (s *Store) refsDir() string       { return filepath.Join(s.o.Root, "images", "refs") }
func (s *Store) layersDir() string     { return filepath.Join(s.o.Root, "images", "layers") }
func (s *Store) tmpDir() string        { return filepath.Join(s.o.Root, "images", "tmp") }
func (s *Store) removingDir() string   { return filepath.Join(s.o.Root, "images", "removing") }
func (s *Store) quarantineDir() string { return filepath.Join(s.o.Root, "images", "quarantine") }
func (s *Store) containersDir() string { return filepath.Join(s.o.Root, "containers") }

// goneRootsDir is where containers' directories go to be removed: on their own
// file system, under a name that no container has.
func (s *Store) goneRootsDir() string { return filepath.Join(s.containersDir(), ".removing") }

// emptyDir is the lower of an image without layers.
func (s *Store) emptyDir() string { return filepath.Join(s.o.Root, "images", "empty") }

func (s *Store) tree(key string) string { return filepath.Join(s.layersDir(), key, treeName) }

func (s *Store) makeDirs() error {
	for _, d := range []string{
		filepath.Join(s.o.Root, "images"), s.refsDir(), s.layersDir(), s.tmpDir(), s.removingDir(),
		s.quarantineDir(), s.containersDir(), s.goneRootsDir(),
	} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
		// Also when it was there: images hold set-ID programs.
		if err := os.Chmod(d, 0o700); err != nil {
			return err
		}
	}
	if err := blob.Spread(s.tmpDir()); err != nil {
		s.log.Debug("layers will lie close to each other", "error", err)
	}
	if err := os.Mkdir(s.emptyDir(), 0o755); err != nil && !os.IsExist(err) {
		return err
	}
	return os.Chmod(s.emptyDir(), 0o755) // whatever the umask
}
