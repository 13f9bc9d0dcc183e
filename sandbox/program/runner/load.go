package runner

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrForm is at the root of every error about the encoded form of a program.
var ErrForm = errors.New("malformed program")

// Loaded is a program in the keeper's memory: the memfd mapped copy-on-write,
// its addresses put in. It can be started once.
type Loaded struct {
	code    mapping // the steps
	image   mapping // the memfd: strings, structures
	pages   mapping // status, then the page for the second child's pid
	steps   []step
	origin  []int // steps[i] comes from step origin[i] of the program
	cgroup  int   // descriptor, -1 = none
	clone   uint64
	two     bool
	offers  int
	service []service
	syncs   []patch // words that take the number of the child's end of the socket
	peers   []patch // and of the keeper's
	used    bool
}

// service is one thing that the keeper does while the child waits.
type service struct {
	kind     uint64
	fd       int // descriptor
	uid, gid []byte
}

// patch is a word that is known only at the clone.
type patch struct{ word *uint64 }

// Load maps a program. The memfd stays the caller's; so do fds, which must stay
// open until Start has returned. They must not be 0, 1 or 2.
func Load(memfd int, fds []int) (*Loaded, error) {
	size, err := sealedSize(memfd)
	if err != nil {
		return nil, err
	}
	for _, fd := range fds {
		if fd < 3 {
			return nil, fmt.Errorf("%w: descriptor %d", ErrForm, fd)
		}
	}
	l := &Loaded{cgroup: -1}
	if l.image, err = mapFile(memfd, size); err != nil {
		return nil, fmt.Errorf("map program: %w", err)
	}
	if err := l.decode(fds); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// Close unmaps the program.
func (l *Loaded) Close() error {
	l.steps = nil
	return errors.Join(l.image.unmap(), l.code.unmap(), l.pages.unmap())
}

// Offers is how many descriptors the child offers (Child.Offered).
func (l *Loaded) Offers() int { return l.offers }

// sealedSize checks that nobody can shrink the file under the mapping, which
// would be a SIGBUS here, nor write it.
func sealedSize(memfd int) (int, error) {
	const want = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	seals, err := unix.FcntlInt(uintptr(memfd), unix.F_GET_SEALS, 0)
	if err != nil || seals&want != want {
		return 0, fmt.Errorf("%w: not a sealed memfd", ErrForm)
	}
	var st unix.Stat_t
	if err := unix.Fstat(memfd, &st); err != nil {
		return 0, fmt.Errorf("program: %w", err)
	}
	if st.Size < headerWords*8 || st.Size > maxBytes {
		return 0, fmt.Errorf("%w: %d bytes", ErrForm, st.Size)
	}
	return int(st.Size), nil
}

// decoder walks the encoded form; every offset is checked before it is used.
type decoder struct {
	l     *Loaded
	b     []byte // the whole form
	data  []byte
	fds   []int
	nstep int
}

func word(b []byte, i int) uint64 { return binary.NativeEndian.Uint64(b[8*i:]) }

func (l *Loaded) decode(fds []int) error {
	b := l.image.bytes
	if word(b, headMagic) != magic {
		return fmt.Errorf("%w: no magic", ErrForm)
	}
	n, relocs, services := word(b, headSteps), word(b, headRelocs), word(b, headServices)
	if n == 0 || n > maxSteps || relocs > maxRelocs || services > maxServices {
		return fmt.Errorf("%w: %d steps, %d relocations, %d services", ErrForm, n, relocs, services)
	}
	words := headerWords + n*encWords + relocs*relocWords + services*srvWords
	size := word(b, headData)
	if words*8 > uint64(len(b)) || size != uint64(len(b))-words*8 {
		return fmt.Errorf("%w: %d bytes of data", ErrForm, size)
	}
	if word(b, headFds) != uint64(len(fds)) || len(fds) > maxFds {
		return fmt.Errorf("%w: %d descriptors instead of %d", ErrForm, len(fds), word(b, headFds))
	}
	d := &decoder{l: l, b: b, data: b[words*8:], fds: fds, nstep: int(n)}
	if err := d.header(); err != nil {
		return err
	}
	if err := d.steps(); err != nil {
		return err
	}
	at := headerWords + int(n)*encWords
	for range relocs {
		if err := d.reloc(word(b, at), word(b, at+1)); err != nil {
			return err
		}
		at += relocWords
	}
	for range services {
		if err := d.service(at); err != nil {
			return err
		}
		at += srvWords
	}
	return nil
}

func (d *decoder) header() error {
	l := d.l
	l.clone, l.two = word(d.b, headClone), word(d.b, headTwo) == 1
	const never = unix.CLONE_VM | unix.CLONE_FILES | unix.CLONE_FS | unix.CLONE_SIGHAND | unix.CLONE_THREAD |
		unix.CLONE_VFORK | unix.CLONE_SETTLS | unix.CLONE_PARENT | 0xff
	if l.clone&never != 0 || l.clone>>32 != 0 {
		return fmt.Errorf("%w: clone flags %#x", ErrForm, l.clone)
	}
	if c := word(d.b, headCgroup); c != 0 {
		fd, err := d.fd(c - 1)
		if err != nil {
			return err
		}
		l.cgroup = fd
	}
	offers := word(d.b, headOffers)
	if offers > MaxOffers {
		return fmt.Errorf("%w: %d offers", ErrForm, offers)
	}
	l.offers = int(offers)
	var err error
	l.pages, err = mapShared(2 * pageSize())
	return err
}

func (d *decoder) fd(i uint64) (int, error) {
	if i >= uint64(len(d.fds)) {
		return -1, fmt.Errorf("%w: descriptor %d of %d", ErrForm, i, len(d.fds))
	}
	return d.fds[i], nil
}

// reloc puts an address or a descriptor into a word of data.
func (d *decoder) reloc(off, kind uint64) error {
	if off%8 != 0 || off > uint64(len(d.data)) || uint64(len(d.data))-off < 8 {
		return fmt.Errorf("%w: relocation at %d", ErrForm, off)
	}
	w := (*uint64)(unsafe.Pointer(&d.data[off]))
	switch kind {
	case KindData, KindFd:
		v, err := d.value(kind, *w, 0)
		if err != nil {
			return err
		}
		*w = v
		return nil
	}
	return fmt.Errorf("%w: relocation of kind %d", ErrForm, kind)
}

// value is what an argument of some kind means here.
func (d *decoder) value(kind, v uint64, at int) (uint64, error) {
	switch kind {
	case KindPlain:
		return v, nil
	case KindData:
		if v >= uint64(len(d.data)) {
			return 0, fmt.Errorf("%w: data at %d of %d", ErrForm, v, len(d.data))
		}
		return uint64(uintptr(unsafe.Pointer(&d.data[v]))), nil
	case KindFd:
		fd, err := d.fd(v)
		return uint64(fd), err
	case KindSlot:
		if v >= uint64(at) {
			return 0, fmt.Errorf("%w: result of step %d in step %d", ErrForm, v, at)
		}
		return v, nil // an index; the address comes with the final place
	case KindPidPage:
		return d.l.pages.addr() + uint64(pageSize()), nil
	case KindPageSize:
		return uint64(pageSize()), nil
	}
	return 0, fmt.Errorf("%w: argument of kind %d", ErrForm, kind)
}

func (d *decoder) service(at int) error {
	if d.l.two {
		return fmt.Errorf("%w: service in a program of two clones", ErrForm)
	}
	s := service{kind: word(d.b, at), fd: -1}
	switch s.kind {
	case ServiceFetch:
	case ServiceIDMaps:
		fd, err := d.fd(word(d.b, at+1))
		if err != nil {
			return err
		}
		uid, gid, end := word(d.b, at+2), word(d.b, at+3), word(d.b, at+4)
		if uid > gid || gid > end || end > uint64(len(d.data)) {
			return fmt.Errorf("%w: id maps", ErrForm)
		}
		s.fd, s.uid, s.gid = fd, d.data[uid:gid], d.data[gid:end]
	default:
		return fmt.Errorf("%w: service %d", ErrForm, s.kind)
	}
	d.l.service = append(d.l.service, s)
	return nil
}
