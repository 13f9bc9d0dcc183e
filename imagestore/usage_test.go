package imagestore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"slipway/imagestore"
	"slipway/imagestore/registrytest"
)

// Nobody who does not want to wait waits for a count; it is made all the same,
// once, and not again while it is fresh.
func TestUsageInBackground(t *testing.T) {
	reg := start(t)
	img := build(t, registrytest.Image{Layers: [][]file{{{Name: "a", Body: "1"}}}})
	reg.Push("app", img, "latest")
	s := open(t, imagestore.Options{Root: t.TempDir(), UsageAge: time.Hour})
	pulled := pull(t, s, reg.Host()+"/app")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	const count = 20
	uppers := map[string]string{}
	for i := range count {
		id := fmt.Sprint("ctr", i)
		root, err := s.NewRoot(t.Context(), pulled.ID, id)
		if err != nil {
			t.Fatal(err)
		}
		uppers[id] = root.Upper
		if err := os.WriteFile(filepath.Join(root.Upper, "f"), make([]byte, 1<<16), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var wait sync.WaitGroup
	for id := range uppers {
		for range 3 {
			wait.Go(func() { _, _ = s.Usage(ended, id) })
		}
	}
	wait.Wait()
	for id, upper := range uppers {
		eventually(t, "a count", func() bool {
			u, err := s.Usage(ended, id)
			return err == nil && u.Inodes == 2 && u.Bytes >= 1<<16
		})
		first, err := s.Usage(ended, id)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(upper, "g"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if u, err := s.Usage(t.Context(), id); err != nil || u != first {
			t.Errorf("%s was counted again: %+v, then %+v, %v", id, first, u, err)
		}
		if err := s.RemoveRoot(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Usage(t.Context(), id); !errors.Is(err, imagestore.ErrNotFound) {
			t.Errorf("usage of a removed root: %v", err)
		}
	}
}
