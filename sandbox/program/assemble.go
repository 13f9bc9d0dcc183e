package program

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"slipway/sandbox/program/runner"
)

// Arguments of a step. Besides these, int and uint64 are plain numbers, string
// is the address of a C string and []byte the address of bytes.
type (
	fd       int    // a descriptor of the daemon, passed along
	slot     int    // the result of an earlier step
	ptr      uint64 // an address in data, as given by one of the data methods
	syncEnd  struct{}
	peerEnd  struct{}
	pidPage  struct{}
	pageSpan struct{}
)

// label is what a step is called when it fails.
type label struct{ step, path string }

// assembly is a program being built. It collects; nothing happens but in the
// builders that open descriptors and give them to own.
type assembly struct {
	form   runner.Form
	labels []label     // of form.Steps
	fds    []int       // that go with it
	index  map[int]int // descriptor -> index in fds
	owned  []int       // to be closed with the program
	at     string      // path that the steps being added are about
}

func newAssembly() *assembly {
	return &assembly{index: map[int]int{}, form: runner.Form{Cgroup: -1}}
}

// own makes the program the owner of a descriptor.
func (a *assembly) own(fd int) int {
	a.owned = append(a.owned, fd)
	return fd
}

// call adds a step.
func (a *assembly) call(name string, nr int, args ...any) slot {
	s := runner.Step{Nr: uint64(nr)}
	for i, arg := range args {
		v, kind := a.argument(arg)
		s.Args[i] = v
		s.Kinds |= kind << (4 * i)
	}
	a.form.Steps = append(a.form.Steps, s)
	a.labels = append(a.labels, label{name, a.at})
	return slot(len(a.form.Steps) - 1)
}

func (a *assembly) argument(arg any) (v, kind uint64) {
	switch v := arg.(type) {
	case int:
		return uint64(v), runner.KindPlain
	case uint64:
		return v, runner.KindPlain
	case string:
		return uint64(a.text(v)), runner.KindData
	case []byte:
		return uint64(a.bytes(v)), runner.KindData
	case ptr:
		return uint64(v), runner.KindData
	case fd:
		return a.pass(int(v)), runner.KindFd
	case slot:
		return uint64(v), runner.KindSlot
	case syncEnd:
		return 0, runner.KindSync
	case peerEnd:
		return 0, runner.KindPeer
	case pidPage:
		return 0, runner.KindPidPage
	case pageSpan:
		return 0, runner.KindPageSize
	}
	panic(fmt.Sprintf("argument of type %T", arg)) // a mistake in this package
}

// about names the path of the steps to come.
func (a *assembly) about(path string) *assembly {
	a.at = path
	return a
}

// last is the step that was added last.
func (a *assembly) last() *runner.Step { return &a.form.Steps[len(a.form.Steps)-1] }

// tolerate lets the last step fail with these errors.
func (a *assembly) tolerate(errs ...unix.Errno) {
	for _, e := range errs {
		a.last().Tolerate |= 1 << e
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
	for len(a.form.Data)%8 != 0 {
		a.form.Data = append(a.form.Data, 0)
	}
	at := len(a.form.Data)
	a.form.Data = append(a.form.Data, b...)
	if len(b) == 0 {
		a.form.Data = append(a.form.Data, 0)
	}
	return ptr(at)
}

// text places a C string in data.
func (a *assembly) text(s string) ptr {
	at := len(a.form.Data)
	a.form.Data = append(append(a.form.Data, s...), 0)
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
		a.form.Relocs = append(a.form.Relocs, runner.Reloc{Off: uint64(at) + uint64(8*i), Kind: runner.KindData})
	}
	return at
}

// wait adds the steps with which the child asks the keeper for a service and
// waits until it is done. It lets go of its copy of the keeper's end before:
// with that open it would wait for ever once the keeper has died, and hold all
// that it was cloned with, the keeper's listening socket too.
func (a *assembly) wait(name string, s runner.Service) {
	if len(a.form.Services) == 0 {
		a.call(name, unix.SYS_CLOSE, peerEnd{})
	}
	a.form.Services = append(a.form.Services, s)
	a.call(name, unix.SYS_WRITE, syncEnd{}, "!", 1)
	a.call(name, unix.SYS_READ, syncEnd{}, a.words(0), 1)
}

// offer makes the result of the last step one that the keeper can fetch.
func (a *assembly) offer() {
	a.last().Flags |= runner.FlagOffer | uint64(a.form.Offers)<<runner.OfferPlace
	a.form.Offers++
}
