package logfile

import (
	"bytes"
	"strconv"
	"time"
)

const (
	// MaxLine is the longest content of a log line in bytes; what is longer is split into parts.
	MaxLine = 16 << 10
	// Batch is how many bytes of output are framed under one timestamp.
	Batch = 64 << 10
	// MinSpace is what Frame needs free in its destination to make progress.
	MinSpace = prefixLen + MaxLine + 1

	layout    = "2006-01-02T15:04:05.000000000Z" // RFC 3339 with a fixed width, UTC
	prefixLen = len(layout) + len(" stdout F ")
)

// Stream is one of the two outputs of a container.
type Stream uint8

// The streams. The zero value is Stdout.
const (
	Stdout Stream = iota
	Stderr
)

// String is the name that stands in the log.
func (s Stream) String() string {
	if s == Stderr {
		return "stderr"
	}
	return "stdout"
}

// State says of each stream whether its last line in the log is a part, so that more of it must follow.
type State [2]bool

// Framer turns the output of one container into log lines. The zero value
// stands at the beginning of a line on both streams.
type Framer struct {
	state  State
	prefix [prefixLen]byte
}

// State returns where the streams stand.
func (f *Framer) State() State { return f.state }

// Restore sets where the streams stand, after a batch was taken back.
func (f *Framer) Restore(s State) { f.state = s }

// Begin sets the timestamp of the lines that follow.
func (f *Framer) Begin(now time.Time) { now.UTC().AppendFormat(f.prefix[:0], layout) }

// Frame appends log lines for data to dst as far as they fit into its capacity,
// which must have MinSpace free. It returns dst and the data that is left.
// Data that does not end in a newline becomes a part. Frame allocates nothing.
func (f *Framer) Frame(dst []byte, s Stream, data []byte) (out, rest []byte) {
	full := f.tag(s)
	for len(data) > 0 {
		line, next, tag := data, len(data), byte('P')
		window := data[:min(len(data), MaxLine+1)]
		if i := bytes.IndexByte(window, '\n'); i >= 0 {
			line, next, tag = data[:i], i+1, 'F'
		} else if len(data) > MaxLine {
			line, next = data[:MaxLine], MaxLine
		}
		if cap(dst)-len(dst) < prefixLen+len(line)+1 {
			break
		}
		full[prefixLen-2] = tag
		dst = append(dst, full...)
		dst = append(dst, line...)
		dst = append(dst, '\n')
		data = data[next:]
		f.state[s] = tag == 'P'
	}
	return dst, data
}

// tag completes the prefix for a stream; the tag itself changes by the line.
func (f *Framer) tag(s Stream) []byte {
	p := f.prefix[:]
	copy(p[len(layout):], " stdout F ")
	if s == Stderr {
		copy(p[len(layout)+1:], "stderr")
	}
	return p
}

// Finish appends an empty full line for each stream that stands in the middle
// of a line: nothing more will follow.
func (f *Framer) Finish(dst []byte) []byte {
	for s := range f.state {
		if f.state[s] {
			dst = append(append(dst, f.tag(Stream(s))...), '\n')
			f.state[s] = false
		}
	}
	return dst
}

// Dropped appends the line that stands for n lost bytes of output, after what
// Finish appends: a reader must not join it to a part.
func (f *Framer) Dropped(dst []byte, n uint64, why string) []byte {
	dst = append(f.Finish(dst), f.tag(Stderr)...)
	dst = append(dst, "slipway: "...)
	dst = strconv.AppendUint(dst, n, 10)
	dst = append(dst, " bytes dropped: "...)
	return append(append(dst, why...), '\n')
}
