package sandbox

import (
	"context"
	"fmt"
	"path"

	"slipway/imagestore"
	"slipway/sandbox/program"
)

// useImages keeps the images of a container's image volumes for as long as the
// container is there, and notes which they were.
func (p *Pods) useImages(ctx context.Context, c *container) error {
	for _, m := range c.config.GetMounts() {
		ref := m.GetImage().GetImage()
		if ref == "" {
			continue
		}
		img, err := p.o.Images.Get(ref)
		var view imagestore.Root
		if err == nil {
			view, err = p.o.Images.UseView(ctx, img.ID, c.id)
		}
		if err == nil {
			err = hasPath(view, m.GetImageSubPath())
		}
		if err != nil {
			return fmt.Errorf("%w: image volume at %q: %w", ErrImageVolume, m.GetContainerPath(), err)
		}
		if c.record.Volumes == nil {
			c.record.Volumes = map[string]string{}
		}
		c.record.Volumes[m.GetContainerPath()] = img.ID
	}
	return nil
}

// hasPath tells whether an image has what is to be mounted of it: a pod should
// hear of a wrong path when its container is created.
func hasPath(image imagestore.Root, path string) error {
	if path == "" {
		return nil
	}
	view, err := program.OpenView(programRoot(image))
	if err != nil {
		return err
	}
	defer view.Close()
	if err := view.Has(path); err != nil {
		return fmt.Errorf("image_sub_path %q: %w", path, err)
	}
	return nil
}

// imageVolumes describes a container's image volumes to the program.
func (p *Pods) imageVolumes(c *container) ([]program.Volume, error) {
	var volumes []program.Volume
	for _, m := range c.config.GetMounts() {
		id, ok := c.record.Volumes[m.GetContainerPath()]
		if m.GetImage().GetImage() == "" || !ok {
			continue
		}
		view, err := p.o.Images.View(id)
		if err != nil {
			return nil, fmt.Errorf("%w: image volume at %q: %w", ErrImageVolume, m.GetContainerPath(), err)
		}
		root := programRoot(view)
		volumes = append(volumes, program.Volume{
			Destination: path.Join("/", m.GetContainerPath()),
			Image:       &root, ImagePath: m.GetImageSubPath(), Readonly: true,
		})
	}
	return volumes, nil
}
