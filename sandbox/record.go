package sandbox

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"slipway/cni"
	"slipway/sandbox/wire"
)

// formatVersion is written into each record. A record of a newer version is
// not understood and goes to quarantine.
const formatVersion = 1

// maxRecord bounds what is read back of one record, in bytes.
const maxRecord = 4 << 20

// Names of the records; FORMAT.md describes them.
const (
	podFile       = "pod.json"
	podLimitsFile = "limits.json"
	netFile       = "net.json"
	reaperFile    = "reaper.json"
	stoppedFile   = "stopped.json"
	containerFile = "container.json"
	specFile      = "config.json"
	startedFile   = "started.json"
	resourcesFile = "resources.json"
	exitFile      = wire.ExitFile
)

var errVersion = errors.New("record of a version that this program does not know")

type podRecord struct {
	Version      int             `json:"version"`
	ID           string          `json:"id"`
	Boot         string          `json:"boot"` // boot id of the kernel it was made under
	Created      int64           `json:"created"`
	Handler      string          `json:"handler"`
	CgroupParent string          `json:"cgroupParent,omitempty"` // of a request that names none
	Config       json.RawMessage `json:"config"`
}

type podLimitsRecord struct {
	Version   int             `json:"version"`
	Overhead  json.RawMessage `json:"overhead,omitempty"`
	Resources json.RawMessage `json:"resources,omitempty"`
}

// The states of a network record. A pod is whole once its record says attached
// or host: anything less is undone at the next start.
const (
	netAttempting = "attempting"
	netAttached   = "attached"
	netHost       = "host"
)

type netRecord struct {
	Version    int             `json:"version"`
	State      string          `json:"state"`
	Attachment *cni.Attachment `json:"attachment,omitempty"`
}

// processRecord tells a process of ours from a later one with the same number.
type processRecord struct {
	Version   int    `json:"version"`
	Pid       int    `json:"pid"`
	StartTime uint64 `json:"startTime"` // field 22 of /proc/PID/stat: clock ticks since boot
	At        int64  `json:"at"`
}

type stoppedRecord struct {
	Version int   `json:"version"`
	At      int64 `json:"at"`
}

type containerRecord struct {
	Version      int               `json:"version"`
	ID           string            `json:"id"`
	Pod          string            `json:"pod"`
	Created      int64             `json:"created"`
	ImageID      string            `json:"imageID"`
	ImageRef     string            `json:"imageRef"`
	LogPath      string            `json:"logPath"`
	User         userRecord        `json:"user"`
	Signal       int32             `json:"stopSignal"`             // as the CRI numbers it
	SignalNumber int               `json:"stopSignalNumber"`       // as the kernel does
	Volumes      map[string]string `json:"imageVolumes,omitempty"` // container path -> image id
	Config       json.RawMessage   `json:"config"`
}

type userRecord struct {
	UID    int64   `json:"uid"`
	GID    int64   `json:"gid"`
	Groups []int64 `json:"groups"`
}

type resourcesRecord struct {
	Version   int             `json:"version"`
	Resources json.RawMessage `json:"resources"`
}

// exitRecord is what both processes write of an end.
type exitRecord = wire.ExitRecord

// newID makes the id of a pod sandbox or container: 64 hexadecimal digits, the
// form that cAdvisor and node agents look for in a cgroup's path.
func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b[:])
}

// encodeMessage renders a CRI message with sorted keys, so that equal requests
// have equal records (protojson alone varies its white space).
func encodeMessage(m proto.Message) (json.RawMessage, error) {
	b, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	var tree any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	return json.Marshal(tree)
}

func decodeMessage(b json.RawMessage, m proto.Message) error {
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, m)
}

// writeRecord puts a record in place by rename: a reader sees the old one, the
// new one or none, never a part. What could not be read back is ErrInvalid: only
// a request makes a record so long.
func writeRecord(dir, name string, record any) error {
	b, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if len(b) >= maxRecord {
		return fmt.Errorf("write %s: %d bytes, a record has less than %d: %w", name, len(b), maxRecord, ErrInvalid)
	}
	tmp := filepath.Join(dir, name+".tmp")
	err = os.WriteFile(tmp, append(b, '\n'), 0o600)
	if err == nil {
		err = os.Rename(tmp, filepath.Join(dir, name))
	}
	if err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// writeOnce is writeRecord for what may be known to two processes at once: the
// first wins, and the second gets fs.ErrExist.
func writeOnce(dir, name string, record any) error {
	b, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	tmp := filepath.Join(dir, name+".daemon")
	defer os.Remove(tmp)
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Link(tmp, filepath.Join(dir, name))
}

// readRecord reads a record and checks its version.
// Errors: fs.ErrNotExist when there is none.
func readRecord(dir, name string, record any) error {
	path := filepath.Join(dir, name)
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRecord {
		return fmt.Errorf("%s: not a regular file of at most %d bytes", path, maxRecord)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if v.Version < 1 || v.Version > formatVersion {
		return fmt.Errorf("%s: version %d: %w", path, v.Version, errVersion)
	}
	if err := json.Unmarshal(b, record); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// removeFile removes a record; one that is not there is fine.
func removeFile(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func unixNano(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
