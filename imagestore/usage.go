package imagestore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"slipway/imagestore/layer"
)

// blockSize is what a blob's or record's file is rounded up to.
const blockSize = 4096

// FS returns what the images take up. It adds up what was counted when layers
// were made; it does not look at the disk.
func (s *Store) FS() (FSInfo, error) {
	info := FSInfo{Mountpoint: s.Mountpoint()}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.layers {
		info.Bytes += l.Bytes + 2*blockSize // its directory and record
		info.Inodes += l.Inodes + 2
	}
	// Manifest, configuration and record of an image, of a few KiB each.
	info.Bytes += uint64(len(s.images)) * 3 * blockSize
	info.Inodes += uint64(len(s.images)) * 3
	info.Bytes += uint64(len(s.names)) * blockSize
	info.Inodes += uint64(len(s.names))
	return info, nil
}

// Mountpoint is the directory of the images: on the file system that container
// roots are on too.
func (s *Store) Mountpoint() string { return filepath.Join(s.o.Root, "images") }

// Usage is what a container's writable layer took up when it was last counted,
// and the file system that it is on.
type Usage struct {
	Bytes, Inodes uint64    // on the disk
	At            time.Time // of the count
	Disk          Disk

	age time.Duration // how old it may become
}

// Disk is the file system of the writable layers. Its zero value is not known.
type Disk struct {
	Major, Minor       uint64 // its device
	Bytes              uint64 // its whole size
	Inodes, InodesFree uint64
}

// Usage returns the last count of a container's writable layer. When there is
// none it waits until ctx ends; one that is older than Options.UsageAge is
// counted again in the background, so that nobody else waits for a walk.
// ErrNotFound without a root.
func (s *Store) Usage(ctx context.Context, containerID string) (Usage, error) {
	c := s.usage.find(containerID)
	if c == nil {
		return Usage{}, fmt.Errorf("root of container %q: %w", containerID, ErrNotFound)
	}
	u := c.last.Load()
	if u == nil || time.Since(u.At) > u.age {
		s.usage.ask(c)
	}
	if u != nil {
		return *u, nil
	}
	select {
	case <-c.first:
	case <-ctx.Done():
	}
	if u = c.last.Load(); u == nil {
		return Usage{}, fmt.Errorf("usage of container %q is not counted yet", containerID)
	}
	return *u, nil
}

func (s *Store) hasRoot(containerID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.roots[containerID]
	return r != nil && !r.pending
}

// usageCache remembers the last count of each container. One worker counts one
// layer after the other, because walks would only fight for the disk; it ends
// when there is nothing to count.
type usageCache struct {
	s    *Store
	last sync.Map // container id to *counted

	mu    sync.Mutex // guards the two below; never held while counting
	queue []*counted
	works bool // there is a worker
}

type counted struct {
	id    string
	last  atomic.Pointer[Usage] // nil: never counted
	asked atomic.Bool           // it is in the queue
	first chan struct{}         // closed after the first try
	tried sync.Once             // closes first
}

func newUsageCache(s *Store) *usageCache { return &usageCache{s: s} }

// find returns the entry of a container that has a root, else nil.
func (u *usageCache) find(id string) *counted {
	if c, ok := u.last.Load(id); ok {
		return c.(*counted)
	}
	if !u.s.hasRoot(id) {
		return nil
	}
	c, _ := u.last.LoadOrStore(id, &counted{id: id, first: make(chan struct{})})
	if !u.s.hasRoot(id) { // removed meanwhile: nobody else would forget it
		u.forget(id)
		return nil
	}
	return c.(*counted)
}

func (u *usageCache) forget(id string) { u.last.Delete(id) }

// ask has a layer counted soon.
func (u *usageCache) ask(c *counted) {
	if !c.asked.CompareAndSwap(false, true) {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.queue = append(u.queue, c)
	if !u.works && u.s.base.Err() == nil {
		u.works = true
		u.s.work.Go(u.work)
	}
}

// work counts until the queue is empty or the store closes.
func (u *usageCache) work() {
	for {
		u.mu.Lock()
		if len(u.queue) == 0 || u.s.base.Err() != nil {
			u.works, u.queue = false, nil
			u.mu.Unlock()
			return
		}
		c := u.queue[0]
		u.queue = u.queue[1:]
		u.mu.Unlock()
		if err := u.count(c); err != nil {
			u.s.log.Debug("count usage", "container", c.id, "error", err)
		}
		c.asked.Store(false)
		c.tried.Do(func() { close(c.first) })
	}
}

// Limits of counting: one walk ends after maxCount; counting takes at most about
// one hundredth of the time, because a layer that takes long is counted seldom.
const (
	maxCount   = 30 * time.Second
	restFactor = 100
	maxAge     = 5 * time.Minute
)

func (u *usageCache) count(c *counted) error {
	ctx, cancel := context.WithTimeout(u.s.base, maxCount)
	defer cancel()
	upper := filepath.Join(u.s.rootDir(c.id), "upper")
	n := &Usage{At: time.Now()}
	var err error
	n.Bytes, n.Inodes, err = layer.Measure(ctx, upper)
	if err != nil {
		return err
	}
	n.age = max(u.s.o.UsageAge, min(restFactor*time.Since(n.At), maxAge))
	if n.Disk, err = diskOf(upper); err != nil {
		return err
	}
	c.last.Store(n)
	return nil
}

// diskOf asks for the file system that a directory is on.
func diskOf(path string) (d Disk, err error) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return d, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(path, &fs); err != nil {
		return d, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	dev := uint64(st.Dev)
	return Disk{
		Major: dev>>8&0xfff | dev>>32&^0xfff, Minor: dev&0xff | dev>>12&^0xff&0xffffffff,
		Bytes:  fs.Blocks * uint64(fs.Frsize),
		Inodes: fs.Files, InodesFree: fs.Ffree,
	}, nil
}
