package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"slipway/sandbox/linux"
	"slipway/sandbox/wire"
)

// input is what an attached client types into.
type input struct {
	p    *Pods
	c    *container
	file *os.File
	tty  bool
	once bool // the container reads the end when the client is done
	told sync.Once

	users int // of a shared one; attached.mu guards it
}

// openInput opens the container's input for a client. With stdin_once the first
// one takes the only write end out of custody: when the daemon dies the client
// is gone, and the container reads the end.
func (p *Pods) openInput(ctx context.Context, c *container) (*input, error) {
	in := &input{p: p, c: c, tty: c.config.GetTty(), once: c.config.GetStdinOnce(), users: 1}
	var err error
	switch {
	case in.tty:
		in.file, err = p.borrowFile(c, wire.FdMaster)
		return in, err
	case !in.once:
		in.file, err = p.borrowFile(c, fdStdin)
		return in, err
	}
	c.op.Lock()
	defer c.op.Unlock()
	if c.process == nil {
		return nil, fmt.Errorf("it does not run: %w", ErrState)
	}
	p.attached.mu.Lock()
	if shared := p.attached.inputs[c.id]; shared != nil {
		shared.users++
		p.attached.mu.Unlock()
		return shared, nil
	}
	p.attached.mu.Unlock()
	if in.file, err = p.borrowFile(c, fdStdin); errors.Is(err, ErrState) {
		return in, in.closed() // closed before both processes died
	}
	if err != nil {
		return nil, err
	}
	if err := p.takeInput(ctx, c); err != nil {
		in.file.Close()
		return nil, err
	}
	p.attached.mu.Lock()
	defer p.attached.mu.Unlock()
	if p.attached.inputs == nil {
		p.attached.inputs = map[string]*input{}
	}
	p.attached.inputs[c.id] = in
	return in, nil
}

// closed makes an input that goes nowhere.
func (in *input) closed() (err error) {
	in.once = false
	in.file, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	return err
}

// takeInput takes the write end out of custody: in its place is kept what every
// later client writes into. Under c.op: the container is held.
func (p *Pods) takeInput(ctx context.Context, c *container) error {
	null, err := openNull(syscall.O_WRONLY)
	if err != nil {
		return err
	}
	defer linux.Close(null)
	return p.link.hold(ctx, c.id, map[string]int{fdStdin: null})
}

// copy carries what the client types. A client that ends its input ends that of
// a container with stdin_once.
func (in *input) copy(r io.Reader) {
	_, err := io.Copy(in.file, r)
	if !in.once || err != nil {
		return
	}
	if in.tty {
		in.tell()
		return
	}
	in.shut()
}

// tell types the end of input into a terminal.
func (in *input) tell() {
	in.told.Do(func() { _, _ = in.file.Write([]byte{endOfText}) })
}

// leave is a client's end.
func (in *input) leave() {
	if in.tty && in.once {
		in.tell()
	}
	in.p.attached.mu.Lock()
	in.users--
	last := in.users == 0
	in.p.attached.mu.Unlock()
	if last {
		in.shut()
	}
}

// shut closes our end.
func (in *input) shut() {
	in.p.attached.mu.Lock()
	if in.p.attached.inputs[in.c.id] == in {
		delete(in.p.attached.inputs, in.c.id)
	}
	in.p.attached.mu.Unlock()
	in.file.Close()
}
