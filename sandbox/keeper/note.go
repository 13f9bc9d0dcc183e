package keeper

import (
	"bytes"
	"encoding/json"
	"fmt"

	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
	"slipway/sandbox/logfile"
	"slipway/sandbox/wire"
)

// note is log.json: where the log stood before the batch that is, or was last,
// in the staging pipe. It has a fixed size and is written in one piece over the
// old one, so that it is whole at any moment and needs no free block.
type note struct {
	Version int           `json:"version"`
	Offset  int64         `json:"offset"`
	File    uint64        `json:"file"` // inode number of the log file
	Stream  string        `json:"stream"`
	Partial logfile.State `json:"partial"` // before the batch
	Lost    uint64        `json:"lost"`    // bytes dropped and not yet told in the log
}

const noteSize = 256

func (n *note) encode() []byte {
	b, err := json.Marshal(n)
	if err != nil || len(b) >= noteSize {
		panic(fmt.Sprint("log.json: ", err, len(b))) // plain values; the widest takes some 170 bytes
	}
	b = append(b, bytes.Repeat([]byte(" "), noteSize-1-len(b))...)
	return append(b, '\n')
}

func (n *note) stream() logfile.Stream {
	if n.Stream == logfile.Stderr.String() {
		return logfile.Stderr
	}
	return logfile.Stdout
}

// readNote reads log.json of an earlier keeper; false when there is none that is known.
func readNote(record int) (note, bool) {
	var n note
	b, err := linux.ReadFileAt(record, wire.LogFile, noteSize)
	if err != nil || json.Unmarshal(b, &n) != nil || n.Version != 1 {
		return note{}, false
	}
	return n, true
}

// openNote opens log.json for writing. What an earlier keeper noted stays.
func openNote(record int) (int, error) {
	fd, err := unix.Openat(record, wire.LogFile, unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return -1, fmt.Errorf("open %q: %w", wire.LogFile, err)
	}
	return fd, nil
}
