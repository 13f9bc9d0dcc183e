package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path"
	"sort"
	"strings"
	"time"
)

// tree is the content of one layer: path without leading slash -> entry.
type tree map[string]entry

type entry struct {
	mode    int64 // permission and set-id bits
	dir     bool
	link    string // hard link to this path of the same tree; mode is the target's, since unpackers set it again
	symlink string
	data    []byte
}

func (t tree) dir(name string, mode int64)            { t[name] = entry{dir: true, mode: mode} }
func (t tree) file(name string, mode int64, d string) { t[name] = entry{mode: mode, data: []byte(d)} }

func (t tree) hard(name, target string) { t[name] = entry{link: target, mode: t[target].mode} }

func (t tree) soft(name, target string) { t[name] = entry{symlink: target, mode: 0o777} }

// copy puts the host's file at name.
func (t tree) copy(name string, mode int64, host string) error {
	data, err := os.ReadFile(host)
	if err != nil {
		return err
	}
	t[name] = entry{mode: mode, data: data}
	return nil
}

// archive writes the tree as a tar whose bytes depend on nothing but the tree:
// sorted names, owner 0, time 0. Parents that the tree does not name are
// added; a hard link's target comes before it, whatever its name.
func (t tree) archive() ([]byte, error) {
	full := tree{}
	for name, e := range t {
		full[name] = e
		for d := path.Dir(name); d != "."; d = path.Dir(d) {
			if _, ok := t[d]; !ok {
				full[d] = entry{dir: true, mode: 0o755}
			}
		}
	}
	names := make([]string, 0, len(full))
	for name := range full {
		names = append(names, name)
	}
	sort.Slice(names, func(i, j int) bool {
		if a, b := full[names[i]].link != "", full[names[j]].link != ""; a != b {
			return b
		}
		return names[i] < names[j]
	})
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range names {
		if err := writeEntry(w, name, full[name]); err != nil {
			return nil, fmt.Errorf("archive %q: %w", name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func writeEntry(w *tar.Writer, name string, e entry) error {
	h := &tar.Header{Name: name, Mode: e.mode, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	switch {
	case e.dir:
		h.Typeflag, h.Name = tar.TypeDir, strings.TrimSuffix(name, "/")+"/"
	case e.link != "":
		h.Typeflag, h.Linkname = tar.TypeLink, e.link
	case e.symlink != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.symlink
	default:
		h.Typeflag, h.Size = tar.TypeReg, int64(len(e.data))
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(e.data)
	return err
}
