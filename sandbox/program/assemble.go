package program

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Arguments of a step. Besides these, int and uint64 are plain numbers, string
// is the address of a C string and []byte the address of bytes.
type (
	fd       int    // a descriptor of the daemon, passed along
	slot     int    // the result of an earlier step
	ptr      uint64 // an address in data, as given by one of the data methods
	syncEnd  struct{}
	pidPage  struct{}
	pageSpan struct{}
)

// label is what a step is called when it fails.
type label struct{ step, path string }

// encStep is a step in its encoded form.
type encStep struct {
	nr, kinds, tolerate, flags uint64
	args                       [6]uint64
}

type encReloc struct{ off, kind uint64 }

type encService struct {
	kind     uint64
	fd       uint64
	uid, gid string
}

// assembly is a program being built. It collects; nothing happens but in the
// builders that open descriptors and give them to own.
type assembly struct {
	steps    []encStep
	labels   []label
	relocs   []encReloc
	services []encService
	data     []byte
	fds      []int
	index    map[int]int // descriptor -> index in fds
	owned    []int
	at       string // path that the steps being added are about
	clone    uint64
	cgroup   int // descriptor for CLONE_INTO_CGROUP, -1 = none
	two      bool
	offers   int
}

func newAssembly() *assembly {
	return &assembly{index: map[int]int{}, cgroup: -1}
}

// own makes the program the owner of a descriptor.
func (a *assembly) own(fd int) int {
	a.owned = append(a.owned, fd)
	return fd
}

// call adds a step.
func (a *assembly) call(name string, nr int, args ...any) slot {
	s := encStep{nr: uint64(nr)}
	for i, arg := range args {
		v, kind := a.argument(arg)
		s.args[i] = v
		s.kinds |= kind << (4 * i)
	}
	a.steps = append(a.steps, s)
	a.labels = append(a.labels, label{name, a.at})
	return slot(len(a.steps) - 1)
}

func (a *assembly) argument(arg any) (v, kind uint64) {
	switch v := arg.(type) {
	case int:
		return uint64(v), kindPlain
	case uint64:
		return v, kindPlain
	case string:
		return uint64(a.text(v)), kindData
	case []byte:
		return uint64(a.bytes(v)), kindData
	case ptr:
		return uint64(v), kindData
	case fd:
		return a.pass(int(v)), kindFd
	case slot:
		return uint64(v), kindSlot
	case syncEnd:
		return 0, kindSync
	case pidPage:
		return 0, kindPidPage
	case pageSpan:
		return 0, kindPageSize
	}
	panic(fmt.Sprintf("argument of type %T", arg)) // a mistake in this package
}

// about names the path of the steps to come.
func (a *assembly) about(path string) *assembly {
	a.at = path
	return a
}

// last is the step that was added last.
func (a *assembly) last() *encStep { return &a.steps[len(a.steps)-1] }

// tolerate lets the last step fail with these errors.
func (a *assembly) tolerate(errs ...unix.Errno) {
	for _, e := range errs {
		a.last().tolerate |= 1 << e
	}
}

// pass gives the index of a descriptor that goes with the program.
func (a *assembly) pass(fd int) uint64 {
	i, ok := a.index[fd]
	if !ok {
		i = len(a.fds)
		a.index[fd] = i
		a.fds = append(a.fds, fd)
	}
	return uint64(i)
}

// bytes places b in data, at a multiple of eight.
func (a *assembly) bytes(b []byte) ptr {
	for len(a.data)%8 != 0 {
		a.data = append(a.data, 0)
	}
	at := len(a.data)
	a.data = append(a.data, b...)
	if len(b) == 0 {
		a.data = append(a.data, 0)
	}
	return ptr(at)
}

// text places a C string in data.
func (a *assembly) text(s string) ptr {
	at := len(a.data)
	a.data = append(append(a.data, s...), 0)
	return ptr(at)
}

// words places numbers in data.
func (a *assembly) words(w ...uint64) ptr {
	b := make([]byte, 0, 8*len(w))
	for _, v := range w {
		b = binary.NativeEndian.AppendUint64(b, v)
	}
	return a.bytes(b)
}

// pointers places addresses in data: to the texts, then a null.
func (a *assembly) pointers(texts []string) ptr {
	w := make([]uint64, len(texts)+1)
	for i, t := range texts {
		w[i] = uint64(a.text(t))
	}
	at := a.words(w...)
	for i := range texts {
		a.relocs = append(a.relocs, encReloc{uint64(at) + uint64(8*i), kindData})
	}
	return at
}

// wait adds the steps with which the child asks the keeper for a service and
// waits until it is done.
func (a *assembly) wait(name string, s encService) {
	a.services = append(a.services, s)
	a.call(name, unix.SYS_WRITE, syncEnd{}, "!", 1)
	a.call(name, unix.SYS_READ, syncEnd{}, a.words(0), 1)
}

// offer makes the result of the last step one that the keeper can fetch.
func (a *assembly) offer() {
	a.last().flags |= flagOffer | uint64(a.offers)<<flagPlace
	a.offers++
}
