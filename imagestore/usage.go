package imagestore

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"slipway/imagestore/layer"
)

// blockSize is what a blob's or record's file is rounded up to.
const blockSize = 4096

// FS returns what the images take up. It adds up what was counted when layers
// were made; it does not look at the disk.
func (s *Store) FS() (FSInfo, error) {
	info := FSInfo{Mountpoint: filepath.Join(s.o.Root, "images")}
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

// Usage returns what a container's writable layer takes up: bytes on the disk
// and inodes. The first call counts; later ones return the last count and, if
// it is older than Options.UsageAge, start another in the background.
func (s *Store) Usage(containerID string) (bytes, inodes uint64, err error) {
	s.mu.Lock()
	r := s.roots[containerID]
	known := r != nil && !r.pending
	s.mu.Unlock()
	if !known {
		return 0, 0, fmt.Errorf("root of container %q: %w", containerID, ErrNotFound)
	}
	return s.usage.get(containerID)
}

// usageCache remembers the last count of each container.
type usageCache struct {
	s       *Store
	walking chan struct{} // one walk at a time: they would only fight for the disk

	mu   sync.Mutex // guards last and the entries
	last map[string]*counted
}

type counted struct {
	bytes, inodes uint64
	at            time.Time // zero: never
	refreshing    bool
}

func newUsageCache(s *Store) *usageCache {
	return &usageCache{s: s, walking: make(chan struct{}, 1), last: map[string]*counted{}}
}

func (u *usageCache) get(id string) (bytes, inodes uint64, err error) {
	u.mu.Lock()
	c := u.last[id]
	if c == nil {
		c = &counted{}
		u.last[id] = c
	}
	if c.at.IsZero() {
		u.mu.Unlock()
		err := u.count(id, c)
		u.mu.Lock()
		defer u.mu.Unlock()
		return c.bytes, c.inodes, err
	}
	if time.Since(c.at) > u.s.o.UsageAge && !c.refreshing && u.s.base.Err() == nil {
		c.refreshing = true
		u.s.work.Go(func() {
			if err := u.count(id, c); err != nil {
				u.s.log.Debug("count usage", "container", id, "error", err)
			}
		})
	}
	bytes, inodes = c.bytes, c.inodes
	u.mu.Unlock()
	return bytes, inodes, nil
}

// maxCount bounds one walk.
const maxCount = 30 * time.Second

func (u *usageCache) count(id string, c *counted) error {
	ctx, cancel := context.WithTimeout(u.s.base, maxCount)
	defer cancel()
	var bytes, inodes uint64
	var err error
	select {
	case u.walking <- struct{}{}:
		bytes, inodes, err = layer.Measure(ctx, filepath.Join(u.s.rootDir(id), "upper"))
		<-u.walking
	case <-ctx.Done():
		err = ctx.Err()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	c.refreshing = false
	if err != nil {
		return fmt.Errorf("usage of container %q: %w", id, err)
	}
	c.bytes, c.inodes, c.at = bytes, inodes, time.Now()
	return nil
}

func (u *usageCache) forget(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.last, id)
}
