package runner

import (
	"math/bits"
	"os"
	"sort"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapping is memory outside of the Go heap: nothing moves it, nothing frees it early.
type mapping struct{ bytes []byte }

func pageSize() int { return os.Getpagesize() }

func mapFile(fd, size int) (mapping, error) {
	b, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	return mapping{b}, err
}

func mapPrivate(size int) (mapping, error) {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	return mapping{b}, err
}

func mapShared(size int) (mapping, error) {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	return mapping{b}, err
}

func (m *mapping) unmap() error {
	if m.bytes == nil {
		return nil
	}
	b := m.bytes
	m.bytes = nil
	return unix.Munmap(b)
}

func (m *mapping) addr() uint64 { return uint64(uintptr(unsafe.Pointer(&m.bytes[0]))) }

func (m *mapping) span() span {
	p := uint64(pageSize())
	return span{lo: m.addr(), hi: (m.addr() + uint64(len(m.bytes)) + p - 1) &^ (p - 1)}
}

// span is a range of addresses; mayFail: it may be the kernel's own.
type span struct {
	lo, hi  uint64
	mayFail bool
}

// vdsoPages: the vdso and its data lie within so many pages of the address in
// the auxiliary vector, on both sides. The kernel does not let these mappings be
// split (EINVAL), and since Linux 6.16 can seal them (EPERM), and a munmap that
// touches such a page does nothing at all. So the pages of this window go one by
// one and those of the kernel may stay: they hold no secret.
const vdsoPages = 16

// maxUnmaps bounds the steps that unmapList asks for.
const maxUnmaps = 2*vdsoPages + 12

// kept is what the child runs on: the page or two with the runner's code, and
// the program.
func (l *Loaded) kept() []span {
	p := uint64(pageSize())
	run := uint64(runnerAddr())
	return []span{
		{lo: run &^ (p - 1), hi: (run + runnerSize + p - 1) &^ (p - 1)},
		l.code.span(), l.image.span(), l.pages.span(),
	}
}

// withhold keeps a clone from copying anything but what the child runs on: the
// heap, most of all, holds other programs, and copying and undoing its page
// tables is most of what a clone costs. Marks stay with the memory, so what the
// child runs on is unmarked first: another program's start has marked it. The
// caller holds the lock that all clones take. What cannot be marked is copied,
// and unmapped by the child.
func (l *Loaded) withhold() {
	if withLibc {
		return // a test, most likely: programs of one clone still run
	}
	for _, s := range l.kept() {
		s.advise(unix.MADV_DOFORK)
	}
	for _, s := range l.unmapList() {
		if !s.mayFail {
			s.advise(unix.MADV_DONTFORK)
		}
	}
}

// advise ignores holes in the span (ENOMEM): what is there has been told.
func (s span) advise(advice int) {
	_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, uintptr(s.lo), uintptr(s.hi-s.lo), uintptr(advice))
}

// unmapList is everything in the child's memory but what it runs on. It does
// not ask /proc what is mapped: the keeper has none, and the heap may grow
// before the clone. What is kept is known, so the rest is the gaps.
func (l *Loaded) unmapList() []span {
	p := uint64(pageSize())
	keep := l.kept()
	vdso, top := layout()
	if vdso != 0 {
		keep = append(keep, span{lo: vdso&^(p-1) - vdsoPages*p, hi: vdso&^(p-1) + vdsoPages*p, mayFail: true})
	}
	sort.Slice(keep, func(i, j int) bool { return keep[i].lo < keep[j].lo })
	var list []span
	at := uint64(0)
	for _, k := range append(keep, span{lo: top, hi: top}) {
		if k.lo > at {
			list = append(list, span{lo: at, hi: k.lo})
		}
		if k.mayFail {
			list = append(list, apart(k, keep, min(k.hi, top))...)
		}
		at = max(at, k.hi)
	}
	return list
}

// apart cuts k into single pages, without those that another span keeps.
func apart(k span, keep []span, top uint64) []span {
	var list []span
	p := uint64(pageSize())
next:
	for lo := k.lo; lo < top; lo += p {
		for _, o := range keep {
			if !o.mayFail && lo >= o.lo && lo < o.hi {
				continue next
			}
		}
		list = append(list, span{lo: lo, hi: lo + p, mayFail: true})
	}
	return list
}

// layout reads the auxiliary vector: where the vdso is, and where addresses of
// processes end. The end is the power of two above the main stack, which lies
// at most some gigabytes below it; x86 keeps one page more for itself.
func layout() (vdso, top uint64) {
	const atRandom, atSysinfo = 25, 33
	stack := uint64(1) << 46
	if aux, err := unix.Auxv(); err == nil {
		for _, kv := range aux {
			switch kv[0] {
			case atSysinfo:
				vdso = uint64(kv[1])
			case atRandom:
				stack = uint64(kv[1])
			}
		}
	}
	return vdso, uint64(1)<<bits.Len64(stack) - uint64(pageSize())
}
