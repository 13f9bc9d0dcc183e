package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/imagestore"
)

// ListImages lists all images, or the one that a filter names.
func (s *imageService) ListImages(_ context.Context, req *cri.ListImagesRequest) (*cri.ListImagesResponse, error) {
	images, err := s.list(req.GetFilter())
	return &cri.ListImagesResponse{Images: images}, err
}

func (s *imageService) list(f *cri.ImageFilter) ([]*cri.Image, error) {
	var found []imagestore.Image
	if ref := f.GetImage().GetImage(); ref == "" {
		found = s.images.List()
	} else {
		img, err := s.images.Get(ref)
		if errors.Is(err, imagestore.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		found = []imagestore.Image{img}
	}
	items := make([]*cri.Image, 0, len(found))
	for _, img := range found {
		items = append(items, imageItem(img))
	}
	return items, nil
}

// ImageStatus describes one image; that there is none is an empty reply.
func (s *imageService) ImageStatus(_ context.Context, req *cri.ImageStatusRequest) (*cri.ImageStatusResponse, error) {
	img, err := s.images.Get(req.GetImage().GetImage())
	if err != nil {
		return &cri.ImageStatusResponse{}, err
	}
	resp := &cri.ImageStatusResponse{Image: imageItem(img)}
	if req.GetVerbose() {
		resp.Info, err = info(map[string]any{"info": imageVerbose{ImageSpec: img.Config}})
	}
	return resp, err
}

// RemoveImage removes an image with all its names, whichever names it.
func (s *imageService) RemoveImage(ctx context.Context, req *cri.RemoveImageRequest) (*cri.RemoveImageResponse, error) {
	return &cri.RemoveImageResponse{}, s.images.Remove(ctx, req.GetImage().GetImage())
}

// ImageFsInfo tells what images take up. It is a kubelet's first question to
// an image service. Containers' writable layers lie on the same file system,
// which the kubelet sees by the equal mount points.
func (s *imageService) ImageFsInfo(context.Context, *cri.ImageFsInfoRequest) (*cri.ImageFsInfoResponse, error) {
	fs, err := s.images.FS()
	if err != nil {
		return nil, fmt.Errorf("image file system: %w", err)
	}
	usage := []*cri.FilesystemUsage{{
		Timestamp:  time.Now().UnixNano(),
		FsId:       &cri.FilesystemIdentifier{Mountpoint: fs.Mountpoint},
		UsedBytes:  value(fs.Bytes),
		InodesUsed: value(fs.Inodes),
	}}
	return &cri.ImageFsInfoResponse{ImageFilesystems: usage, ContainerFilesystems: usage}, nil
}

// imageVerbose is what `crictl inspecti` shows under "info".
type imageVerbose struct {
	ImageSpec ocispec.Image `json:"imageSpec"` // the image's configuration
}

func imageItem(img imagestore.Image) *cri.Image {
	uid, name := imageUser(img.Config.Config.User)
	return &cri.Image{
		Id:          img.ID,
		RepoTags:    img.Tags,
		RepoDigests: img.Digests,
		Size:        img.Size,
		Uid:         uid,
		Username:    name,
		Pinned:      img.Pinned,
	}
}

// imageUser splits an image's USER, "user[:group]", into what the kubelet reads
// for runAsNonRoot: a number or a name, never both. No user is root. Only
// digits are a number, and digits are never a name (CVE-2024-40635): one that
// is too big for a uid is reported as it is, and refused when a container is
// made of it.
func imageUser(user string) (*cri.Int64Value, string) {
	user, _, _ = strings.Cut(user, ":")
	if user == "" {
		return &cri.Int64Value{}, ""
	}
	if strings.Trim(user, "0123456789") != "" {
		return nil, user
	}
	uid, err := strconv.ParseInt(user, 10, 64)
	if err != nil {
		return nil, user // more than an int64 holds: as a name, runAsNonRoot refuses it
	}
	return &cri.Int64Value{Value: uid}, ""
}
