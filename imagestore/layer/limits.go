package layer

import "errors"

var (
	// ErrInvalid: the layer is malformed, or holds what no layer may hold.
	ErrInvalid = errors.New("invalid layer")
	// ErrLimit: the layer is larger than its limits, a bomb as like as not.
	ErrLimit = errors.New("layer over its limit")
)

// Limits bound what one layer may cost. A zero field is its default.
type Limits struct {
	Bytes   int64 // of the unpacked stream; 64 GiB
	Entries int64 // files, directories, links; 2 million
	Ratio   int64 // unpacked to compressed, after the first 64 MiB; 1000
	MinFree int64 // bytes left free on the disk; 64 MiB
}

const (
	maxName     = 4096      // bytes of one path or link target
	maxXattrs   = 64 << 10  // bytes of all attributes of one file
	maxTrailer  = 1 << 20   // bytes after the end of the tar, or of its container
	ratioFrom   = 64 << 20  // unpacked bytes before the ratio counts
	smallWindow = 8 << 20   // zstd window that any layer may use
	maxWindow   = 128 << 20 // zstd window that one layer at a time may use
	freeEvery   = 64 << 20  // bytes written between looks at the free space
)

func (l Limits) withDefaults() Limits {
	set := func(p *int64, v int64) {
		if *p <= 0 {
			*p = v
		}
	}
	set(&l.Bytes, 64<<30)
	set(&l.Entries, 2_000_000)
	set(&l.Ratio, 1000)
	set(&l.MinFree, 64<<20)
	return l
}
