package program

// The encoded form of a program, native endian, in words of eight bytes:
//
//	header   headerWords, see the head* indexes
//	steps    n of encWords: nr, 6 arguments, their kinds (4 bits each), tolerate, flags
//	relocs   n of 2: offset in data, kind
//	services n of 5: kind, descriptor index, 3 offsets of data
//	data     bytes
//
// Arguments and words of data are plain or stand for an address or a descriptor
// that only the keeper knows.
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
	kindPlain    = iota
	kindData     // offset in data -> address
	kindFd       // index of a descriptor -> its number
	kindSlot     // index of an earlier step -> address of its result
	kindSync     // the child's end of the socket to the keeper
	kindPidPage  // the page that takes the second child's pid
	kindPageSize // its length
	kinds
)

// Kinds of services: what the keeper does while the child waits for it.
const (
	serviceFetch  = 1 + iota // fetch the offered descriptors
	serviceIDMaps            // write uid_map and gid_map through the passed /proc
)

// Bounds of what Load takes.
const (
	maxBytes    = 64 << 20
	maxSteps    = 8192
	maxRelocs   = 1 << 20
	maxServices = 8
	maxFds      = 8192
)
