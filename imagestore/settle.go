package imagestore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"slipway/imagestore/blob"
)

// settleAfter is how long what a pull has made may stay in memory only. Within
// it several layers, and several pulls, become one sync.
const settleAfter = time.Second

// settler brings to the disk what pulls have made, after they were answered. A
// layer's record names the boot that made it until the layer was synced; after
// a power cut nothing is believed that a record of an earlier boot says.
type settler struct {
	s    *Store
	fs   *os.File   // open all the time, so that no error of the disk is missed
	sync sync.Mutex // one sync at a time; before Store.disk

	mu      sync.Mutex // guards what follows
	pending map[*layerDir]struct{}
	dirty   bool // something was written since the last sync began
	busy    bool // run is there
}

func (t *settler) open() (err error) {
	t.fs, err = os.Open(t.s.tmpDir())
	return err
}

// close settles what is left. Calling it twice is fine.
func (t *settler) close() error {
	err := t.settle()
	t.sync.Lock()
	defer t.sync.Unlock()
	if t.fs != nil {
		err = errors.Join(err, t.fs.Close())
	}
	t.fs = nil
	return err
}

// add says that something was written, layers among it.
func (t *settler) add(layers ...*layerDir) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range layers {
		t.pending[l] = struct{}{}
	}
	t.dirty = true
	if !t.busy && t.s.base.Err() == nil {
		t.busy = true
		t.s.work.Go(t.run)
	}
}

func (t *settler) run() {
	for {
		timer := time.NewTimer(settleAfter)
		select {
		case <-t.s.base.Done(): // Close settles
			timer.Stop()
			return
		case <-timer.C:
		}
		if err := t.settle(); err != nil {
			t.s.log.Error("images that were just pulled are not on the disk", "error", err)
		}
		t.mu.Lock()
		if !t.dirty {
			t.busy = false
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
	}
}

// neverBooted is the boot of a layer whose sync failed. The kernel forgets what
// it could not write, and the next sync would succeed without it: the layer
// goes with the next start of the daemon.
const neverBooted = "none"

// settle returns when everything that add was told of is on the disk.
func (t *settler) settle() error {
	t.sync.Lock()
	defer t.sync.Unlock()
	t.mu.Lock()
	layers, dirty := t.pending, t.dirty
	t.pending, t.dirty = map[*layerDir]struct{}{}, false
	t.mu.Unlock()
	if !dirty {
		return nil
	}
	boot := "" // none: synced
	err := blob.SyncFS(t.fs)
	if err != nil {
		boot = neverBooted
	}
	for l := range layers {
		err = errors.Join(err, t.s.setBoot(l, boot))
	}
	if err == nil && len(layers) > 0 {
		err = blob.SyncFS(t.fs) // the records that have just changed
	}
	return err
}

// setBoot changes the boot in a layer's record, unless the layer has been
// removed: under the same key another one may have been made since.
func (s *Store) setBoot(l *layerDir, boot string) error {
	s.disk.Lock()
	defer s.disk.Unlock()
	s.mu.Lock()
	here, r := s.layers[l.key] == l, l.layerRecord
	s.mu.Unlock()
	if !here || r.Boot == "" {
		return nil
	}
	r.Boot = boot
	if err := writeRecord(filepath.Join(s.layersDir(), l.key, layerFile), r); err != nil {
		return fmt.Errorf("layer %q: %w", l.key, err)
	}
	s.mu.Lock()
	l.layerRecord = r
	s.mu.Unlock()
	return nil
}

// bootID names this boot of the kernel; "" if the kernel does not tell, and
// then every layer is synced before it is put in place.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// errUnsettled: the machine stopped before a layer was synced.
var errUnsettled = errors.New("was pulled just before the machine stopped, and must be pulled again")

// loadUnsettled decides about a layer that was not synced: one of this boot is
// what it was, and is synced now; one of another boot may be anything, and goes.
func (s *Store) loadUnsettled(l *layerDir) {
	if l.Boot == s.boot {
		s.layers[l.key] = l
		s.settler.add(l)
		return
	}
	s.log.Warn("layer removed", "layer", l.key, "reason", errUnsettled)
	s.unsettled[l.key] = true
	s.discard(filepath.Join(s.layersDir(), l.key), s.removingDir())
}
