package imagestore

import (
	"context"
	"errors"
	"io"
)

var errStub = errors.New("not built yet")

// Store is an image store.
type Store struct{}

// Open opens the store below o.Root, making it if it is not there.
func Open(ctx context.Context, o Options) (*Store, error) { return &Store{}, nil }

// Close waits for background work and ends it.
func (s *Store) Close() error { return nil }

// Pull gets an image from a registry.
func (s *Store) Pull(ctx context.Context, r PullRequest) (Image, error) { return Image{}, errStub }

// Import reads images from an OCI-layout or docker-save tar.
func (s *Store) Import(ctx context.Context, r io.Reader) ([]Image, error) { return nil, errStub }

// Get finds an image by tag, digest, id or unique id prefix.
func (s *Store) Get(ref string) (Image, error) { return Image{}, errStub }

// List returns every image, sorted by ID.
func (s *Store) List() []Image { return nil }

// Remove removes an image with all its names.
func (s *Store) Remove(ctx context.Context, ref string) error { return errStub }

// NewRoot makes the writable layer of a container.
func (s *Store) NewRoot(ctx context.Context, imageID, containerID string) (Root, error) {
	return Root{}, errStub
}

// Root describes the root of a container that NewRoot made.
func (s *Store) Root(containerID string) (Root, error) { return Root{}, errStub }

// View describes an image read-only. Nothing keeps its content while it is
// used; see UseView.
func (s *Store) View(imageID string) (Root, error) { return Root{}, errStub }

// UseView is View, and keeps the image's content until containerID's root is
// removed: for image volumes.
func (s *Store) UseView(ctx context.Context, imageID, containerID string) (Root, error) {
	return Root{}, errStub
}

// RemoveRoot removes a container's writable layer. It is idempotent.
func (s *Store) RemoveRoot(ctx context.Context, containerID string) error { return errStub }

// Containers lists the containers that have a root, sorted: whoever owns the
// containers removes those that it does not know.
func (s *Store) Containers() []string { return nil }

// Usage returns what a container's writable layer takes up.
func (s *Store) Usage(containerID string) (bytes, inodes uint64, err error) { return 0, 0, errStub }

// FS returns what the images take up. It does not walk the disk.
func (s *Store) FS() (FSInfo, error) { return FSInfo{}, errStub }
