package runner

import "encoding/binary"

// Form is a program on its way to the keeper. Arguments of steps and words of
// data are plain, or stand for an address or a descriptor that only the keeper
// knows; their kind says which.
type Form struct {
	Steps    []Step
	Relocs   []Reloc
	Services []Service
	Data     []byte
	Fds      int    // how many descriptors go with it
	Clone    uint64 // flags of clone3
	Cgroup   int    // index of a descriptor for CLONE_INTO_CGROUP, -1 = none
	Two      bool   // two clones: the list has a step with FlagFork
	Offers   int    // how many descriptors the child offers
}

// Step is one system call. Kinds has four bits for each argument.
type Step struct {
	Nr, Kinds, Tolerate, Flags uint64
	Args                       [6]uint64
}

// Reloc makes the word of data at Off an address or a descriptor: KindData or KindFd.
type Reloc struct{ Off, Kind uint64 }

// Service is what the keeper does while the child waits: the n-th time that the
// child writes a byte to its end of the socket and reads one.
type Service struct {
	Kind     uint64
	Fd       uint64 // ServiceIDMaps: index of a descriptor of /proc
	UID, GID string // ServiceIDMaps: the texts of uid_map and gid_map
}

// Encode gives the bytes for the memfd, native endian, in words of eight bytes:
//
//	header   headerWords, see the head* indexes
//	steps    n of encWords: nr, 6 arguments, their kinds, tolerate, flags
//	relocs   n of 2: offset in data, kind
//	services n of 5: kind, descriptor index, 3 offsets of data
//	data     bytes
func (f *Form) Encode() []byte {
	data, services := f.services()
	head := make([]uint64, headerWords)
	head[headMagic] = magic
	head[headSteps] = uint64(len(f.Steps))
	head[headRelocs] = uint64(len(f.Relocs))
	head[headServices] = uint64(len(f.Services))
	head[headData] = uint64(len(data))
	head[headFds] = uint64(f.Fds)
	head[headClone] = f.Clone
	head[headCgroup] = uint64(f.Cgroup + 1)
	if f.Two {
		head[headTwo] = 1
	}
	head[headOffers] = uint64(f.Offers)
	b := make([]byte, 0, 8*(headerWords+len(f.Steps)*encWords+len(f.Relocs)*relocWords+len(services))+len(data))
	put := func(w ...uint64) {
		for _, v := range w {
			b = binary.NativeEndian.AppendUint64(b, v)
		}
	}
	put(head...)
	for _, s := range f.Steps {
		put(s.Nr)
		put(s.Args[:]...)
		put(s.Kinds, s.Tolerate, s.Flags)
	}
	for _, r := range f.Relocs {
		put(r.Off, r.Kind)
	}
	put(services...)
	return append(b, data...)
}

// services places the texts of the services behind the data.
func (f *Form) services() (data []byte, words []uint64) {
	data = append([]byte{}, f.Data...)
	for _, s := range f.Services {
		uid := len(data)
		data = append(data, s.UID...)
		gid := len(data)
		data = append(data, s.GID...)
		words = append(words, s.Kind, s.Fd, uint64(uid), uint64(gid), uint64(len(data)))
	}
	return data, words
}

const (
	magic       = 0x31_47_4f_52_50_50_4c_53 // "SLPPROG1"
	headerWords = 12
	encWords    = 10
	relocWords  = 2
	srvWords    = 5
)

// Words of the header.
const (
	headMagic = iota
	headSteps
	headRelocs
	headServices
	headData   // bytes
	headFds    // how many descriptors go with it
	headClone  // flags of clone3
	headCgroup // descriptor index + 1 for CLONE_INTO_CGROUP, 0 = none
	headTwo    // 1 = two clones
	headOffers // how many descriptors the child offers
)

// Kinds of arguments and relocations.
const (
	KindPlain    = iota
	KindData     // offset in data -> address
	KindFd       // index of a descriptor -> its number
	KindSlot     // index of an earlier step -> its result
	KindSync     // the child's end of the socket to the keeper
	KindPidPage  // the page that takes the second child's pid
	KindPageSize // its length
	KindPeer     // the keeper's end of the socket, of which the child has a copy
)

// Kinds of services: what the keeper does while the child waits for it.
const (
	ServiceFetch  = 1 + iota // fetch the offered descriptors
	ServiceIDMaps            // write uid_map and gid_map through the passed /proc
)

// Bounds of what Load takes.
const (
	maxBytes    = 64 << 20
	maxSteps    = 8192
	maxRelocs   = 1 << 20
	maxServices = 8
	maxFds      = 8192
)
