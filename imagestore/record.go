package imagestore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"slipway/imagestore/blob"
)

// version of every record. A record of another version is quarantined.
const version = 1

// maxRecord bounds a record's file in bytes.
const maxRecord = 1 << 20

// imageRecord is refs/image-<hex>.json. It is what makes an image exist, and
// removing it is what removes the image.
type imageRecord struct {
	Version  int           `json:"version"`
	ID       digest.Digest `json:"id"`
	Manifest digest.Digest `json:"manifest"`
	Size     uint64        `json:"size"`   // as transferred
	Layers   []string      `json:"layers"` // keys, bottom first
	Pulled   time.Time     `json:"pulled"`
}

// nameRecord is refs/name-<hex of sha256 of the name>.json.
type nameRecord struct {
	Version int    `json:"version"`
	Name    string `json:"name"` // normalized, with tag or digest
	// Image is the id of the image of that name.
	Image digest.Digest `json:"image"`
	// Target is the index or manifest that the name stands for, Manifest the
	// one of the image.
	Target   digest.Digest `json:"target"`
	Manifest digest.Digest `json:"manifest"`
}

// layerRecord is layers/<key>/layer.json.
type layerRecord struct {
	Version int           `json:"version"`
	DiffID  digest.Digest `json:"diffID"`
	// Chained: directories in it have attributes from the layers below, so it
	// fits on those only, and its key is its chain id's.
	Chained      bool   `json:"chained"`
	RootExplicit bool   `json:"rootExplicit"`
	RootOpaque   bool   `json:"rootOpaque"`
	Bytes        uint64 `json:"bytes"`
	Inodes       uint64 `json:"inodes"`
	// Boot is the id of the boot in which it was unpacked, until it is synced.
	Boot string `json:"boot,omitempty"`
}

// rootRecord is containers/<id>/root.json.
type rootRecord struct {
	Version   int           `json:"version"`
	Container string        `json:"container"`
	Image     digest.Digest `json:"image"`
	Layers    []string      `json:"layers"` // keys of the lowers, top first
	Views     []viewRecord  `json:"views,omitempty"`
}

// viewRecord is an image that a container uses as a volume.
type viewRecord struct {
	Image  digest.Digest `json:"image"`
	Layers []string      `json:"layers"`
}

const (
	treeName  = "fs"
	layerFile = "layer.json"
	rootFile  = "root.json"
)

func (s *Store) imageFile(id digest.Digest) string {
	return filepath.Join(s.refsDir(), "image-"+id.Encoded()+".json")
}

func (s *Store) nameFile(name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(s.refsDir(), "name-"+hex.EncodeToString(sum[:])+".json")
}

func writeRecord(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return blob.WriteFile(path, append(data, '\n'))
}

// readRecord decodes a record strictly: a field that we do not know was
// written by somebody who meant something by it.
func readRecord(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return err
	}
	if len(data) > maxRecord {
		return errors.New("record too large")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more than one record")
	}
	return nil
}

func checkVersion(v int) error {
	if v != version {
		return fmt.Errorf("version %d, want %d", v, version)
	}
	return nil
}

// layerKey names a layer's directory.
func layerKey(d digest.Digest) string {
	return d.Algorithm().String() + "-" + d.Encoded()
}

func checkKey(key string) error {
	if len(key) != len("sha256-")+64 || key[:7] != "sha256-" {
		return fmt.Errorf("layer key %q", key)
	}
	return digest.Digest("sha256:" + key[7:]).Validate()
}
