package program

import (
	"errors"
	"fmt"
	"strconv"
	"syscall"

	"slipway/sandbox/linux"
)

// Program is a finished program: a list of system calls and the descriptors
// that go with it. It owns those that its builder opened, until Close.
type Program struct {
	a              *assembly
	master, devpts int
}

// StepError is a step that failed, in words.
type StepError struct {
	Step  string // "mount volume"
	Path  string // in the container, or ""
	Errno syscall.Errno
}

func (e *StepError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%s: %v", e.Step, e.Errno)
	}
	return fmt.Sprintf("%s %s: %v", e.Step, strconv.Quote(e.Path), e.Errno)
}

// Unwrap gives the errno, so that errors.Is(err, fs.ErrNotExist) holds.
func (e *StepError) Unwrap() error { return e.Errno }

func newProgram(a *assembly) *Program { return &Program{a: a, master: -1, devpts: -1} }

// Fds are the descriptors to pass to Load, in this order. They stay the program's.
func (p *Program) Fds() []int { return p.a.fds }

// Offers is how many descriptors the child offers (Child.Offered).
func (p *Program) Offers() int { return p.a.form.Offers }

// Terminal gives the master of the process's terminal, -1 when it has none, and
// a descriptor of the container's devpts mount, -1 when there is none, with
// which an exec gets its terminal (Exec.Devpts). Both become the caller's.
func (p *Program) Terminal() (master, devpts int) {
	master, devpts = p.master, p.devpts
	p.master, p.devpts = -1, -1
	return master, devpts
}

// Failure names the step with this index; a *StepError.
func (p *Program) Failure(i int, errno syscall.Errno) error {
	if i < 0 || i >= len(p.a.labels) {
		return &StepError{Step: "start process", Errno: errno}
	}
	l := p.a.labels[i]
	return &StepError{Step: l.step, Path: l.path, Errno: errno}
}

// Close closes the descriptors that the builder opened. The started process is
// not touched.
func (p *Program) Close() error {
	var errs []error
	for _, fd := range append(p.a.owned, p.master, p.devpts) {
		if fd >= 0 {
			errs = append(errs, linux.Close(fd))
		}
	}
	p.a.owned, p.master, p.devpts = nil, -1, -1
	return errors.Join(errs...)
}

// Seal writes the program into a memfd that nobody can change any more. The
// caller closes it. The strings in it (environments hold secrets) are nowhere else
// on the way to the child.
func (p *Program) Seal() (memfd int, err error) {
	fd, err := linux.SealedMemfd("program", p.a.encode())
	if err != nil {
		return -1, fmt.Errorf("program: %w", err)
	}
	return fd, nil
}

func (a *assembly) encode() []byte {
	a.form.Fds = len(a.fds)
	return a.form.Encode()
}
