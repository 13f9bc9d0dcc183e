package imagestore

import (
	"fmt"
	"slices"
	"strings"
)

// view is what the store looks like at one moment.
type view struct {
	list  []Image          // sorted by ID
	byID  map[string]Image // by hex digest
	names map[string]string
}

// publish makes the maps' content what List and Get see. Call it with mu held.
func (s *Store) publish() {
	v := &view{byID: map[string]Image{}, names: map[string]string{}}
	tags, digests := map[string][]string{}, map[string][]string{}
	for n, r := range s.names {
		hex := r.Image.Encoded()
		v.names[n] = hex
		if strings.Contains(n, "@") {
			digests[hex] = append(digests[hex], n)
		} else {
			tags[hex] = append(tags[hex], n)
		}
	}
	for id, i := range s.images {
		hex := i.ID.Encoded()
		slices.Sort(tags[hex])
		slices.Sort(digests[hex])
		img := Image{
			ID: id, Tags: tags[hex], Digests: digests[hex], Size: i.Size,
			Config: i.config.Image, Pinned: s.pinned(tags[hex], digests[hex]), Pulled: i.Pulled,
		}
		v.byID[hex] = img
		v.list = append(v.list, img)
	}
	slices.SortFunc(v.list, func(a, b Image) int { return strings.Compare(a.ID, b.ID) })
	s.view.Store(v)
}

func (s *Store) pinned(lists ...[]string) bool {
	for _, p := range s.o.Pinned {
		for _, list := range lists {
			for _, n := range list {
				if prefix, ok := strings.CutSuffix(p, "*"); n == p || ok && strings.HasPrefix(n, prefix) {
					return true
				}
			}
		}
	}
	return false
}

// List returns every image, sorted by ID. It takes no lock and reads no disk.
func (s *Store) List() []Image {
	return slices.Clone(s.view.Load().list)
}

// Get finds an image by tag, by digest, by id, or by a prefix of the id that
// only one has. ErrNotFound; ErrInvalid for what is no reference at all, or a
// prefix of several.
func (s *Store) Get(ref string) (Image, error) {
	v := s.view.Load()
	prefix, sure, isID := idPrefix(ref)
	if isID {
		if img, ok := v.byID[prefix]; ok {
			return img, nil
		}
	}
	if !sure {
		n, err := parseName(ref)
		if err != nil {
			return Image{}, err
		}
		if hex, ok := v.names[n.String()]; ok {
			return v.byID[hex], nil
		}
	}
	if !isID {
		return Image{}, fmt.Errorf("image %q: %w", ref, ErrNotFound)
	}
	var found []Image
	for hex, img := range v.byID {
		if strings.HasPrefix(hex, prefix) {
			found = append(found, img)
		}
	}
	switch len(found) {
	case 0:
		return Image{}, fmt.Errorf("image %q: %w", ref, ErrNotFound)
	case 1:
		return found[0], nil
	}
	return Image{}, fmt.Errorf("image %q: prefix of %d images: %w", ref, len(found), ErrInvalid)
}
