package imagestore

import (
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// An Image is a snapshot of what the store knows of one image. It shares
// nothing with the store; slices and maps in it must not be changed.
type Image struct {
	// ID is "sha256:" and the digest of the image's configuration, so it is
	// the same whichever registry the image came from.
	ID string
	// Tags are the normalized names with a tag, "docker.io/library/busybox:1",
	// sorted.
	Tags []string
	// Digests are the normalized names with a digest,
	// "docker.io/library/busybox@sha256:...", sorted. The digest is the one
	// that was pulled by: that of the index, if there was one, and that of the
	// manifest if it was named itself.
	Digests []string
	// Size is the size in bytes of the image's content in a registry:
	// manifest, configuration and layers as they are transferred. Never 0.
	Size uint64
	// Config is the image's configuration, decoded. Hostile: whoever built the
	// image chose every string in it.
	Config ocispec.Image
	// Pinned images must not be removed by the kubelet's garbage collection.
	Pinned bool
	// Pulled is when the image was completed here.
	Pulled time.Time
}

// A Root describes a container's root file system. Paths are absolute.
type Root struct {
	// Lower are the read-only layers, the top one first. There is at least one.
	Lower []string
	// Upper and Work are the writable layer and the overlay's work directory;
	// both are empty in a read-only view.
	Upper, Work string
}

// FSInfo is what the images take up.
type FSInfo struct {
	// Mountpoint is a directory on the file system of the images.
	Mountpoint string
	// Bytes and Inodes are what blobs and unpacked layers use, each layer
	// counted once.
	Bytes, Inodes uint64
}

// Auth are the credentials that come with a pull, as in the CRI. The zero
// value is anonymous.
type Auth struct {
	Username, Password string
	// Auth is base64 of "user:password".
	Auth string
	// ServerAddress, when set, is the only registry the credentials are for.
	ServerAddress string
	// IdentityToken is an OAuth2 refresh token.
	IdentityToken string
	// RegistryToken is a bearer token, sent as it is.
	RegistryToken string
}

// A PullRequest says what to pull.
type PullRequest struct {
	// Reference is the image's name as a user writes it: "busybox",
	// "registry:5000/app:v1", "app@sha256:...". With tag and digest the digest
	// decides and the tag is not recorded, since nothing was asked about it.
	Reference string
	// Auth are the credentials; nil is anonymous.
	Auth *Auth
}
