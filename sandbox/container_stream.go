package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"slipway/sandbox/program"
)

// Exec runs a command in a running container with a client's streams, and
// returns its exit code (128+n for signal n). With tty it gets a terminal, whose
// output is all in Out.
//
// When ctx ends, the command is hung up on, as when a connection of ssh breaks:
// its streams are closed, a terminal sends it SIGHUP, and it is left to itself.
// The error is then the cause of ctx.
//
// Errors: ErrNotFound, ErrInvalid, ErrState (it does not run), and what the
// failing step said when the command could not be started.
func (p *Pods) Exec(ctx context.Context, id string, cmd []string, tty bool, s Streams) (int, error) {
	c, err := p.container(id)
	if err != nil {
		return 0, err
	}
	if len(cmd) == 0 {
		return 0, fmt.Errorf("exec in %s: no command given: %w", c.name(), ErrInvalid)
	}
	code, err := p.exec(ctx, c, cmd, tty, s)
	if err != nil && ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("exec %q in %s: %w", cmd[0], c.name(), err)
	}
	return code, nil
}

func (p *Pods) exec(ctx context.Context, c *container, cmd []string, tty bool, s Streams) (int, error) {
	t := &talk{Streams: s, tty: tty, over: make(chan struct{})}
	defer t.hangUp()
	e, err := p.execTalk(ctx, c, cmd, t)
	if err != nil {
		return 0, err
	}
	t.begin()
	select {
	case x := <-e.exit:
		close(t.over)
		t.drain(ctx)
		e.end()
		if x.Unknown {
			return 0, errors.New("its exit code is not known: the keeper died meanwhile")
		}
		return x.Code, nil
	case <-ctx.Done():
		p.abandon(c, e)
		return 0, context.Cause(ctx)
	}
}

// execTalk starts the command. When it returns, the command alone has its ends
// of the pipes: their end is then its end.
func (p *Pods) execTalk(ctx context.Context, c *container, cmd []string, t *talk) (*execution, error) {
	f := newFiles()
	defer f.close()
	e, b, err := p.prepareExec(c, cmd, t.tty, f)
	if err != nil {
		return nil, err
	}
	// A start that was cut off would leave a command that nobody knows of.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), createLimit)
	defer cancel()
	if err = t.plumb(b, f); err == nil {
		err = p.startTalk(ctx, e, b, t)
	}
	if err != nil {
		e.end()
		return nil, err
	}
	return e, nil
}

// startTalk makes the program and starts it. A terminal has the client's size,
// if it was told so far, before the command runs.
func (p *Pods) startTalk(ctx context.Context, e *execution, b *program.Exec, t *talk) error {
	prog, err := b.Build(ctx)
	if err != nil {
		return err
	}
	defer prog.Close()
	if t.tty {
		fd, _ := prog.Terminal()
		if t.master, err = pollable(fd, "terminal"); err != nil {
			return err
		}
		if t.Resize != nil {
			go resize(t.master, t.Resize)
		}
	}
	return e.spawn(ctx, prog)
}

// abandon leaves a command to itself; what it used is taken back at its end.
func (p *Pods) abandon(c *container, e *execution) {
	p.link.work.Go(func() {
		select {
		case <-e.exit:
		case <-c.ended:
		case <-p.link.ctx.Done():
		}
		e.end()
	})
}

// talk is a command's streams: our ends of its pipes or its terminal, and what
// carries bytes between them and a client.
type talk struct {
	Streams
	tty  bool
	over chan struct{} // closed when the command has ended

	master        *os.File
	in, out, errs *os.File
	copies        sync.WaitGroup // of output
}

// plumb makes the command's pipes; with a terminal there are none.
func (t *talk) plumb(b *program.Exec, f *files) error {
	if t.tty {
		return nil
	}
	ends := []struct {
		want      bool
		mode      int
		ours      **os.File
		theirs    *int
		theyWrite bool
	}{
		{t.In != nil, syscall.O_RDONLY, &t.in, &b.Stdio.In, false},
		{t.Out != nil, syscall.O_WRONLY, &t.out, &b.Stdio.Out, true},
		{t.Err != nil, syscall.O_WRONLY, &t.errs, &b.Stdio.Err, true},
	}
	for _, e := range ends {
		var err error
		if e.want {
			*e.ours, *e.theirs, err = pipe(e.theyWrite)
		} else {
			*e.theirs, err = openNull(e.mode)
		}
		if err != nil {
			return err
		}
		f.add(*e.theirs)
	}
	return nil
}

// begin starts to carry bytes.
func (t *talk) begin() {
	in, out := t.in, t.out
	if t.tty {
		in, out = t.master, t.master
	}
	if t.In != nil {
		go copyIn(in, t.In, t.tty) // ends with the client's input or the session
	}
	if t.Out != nil {
		t.copies.Go(func() { copyOut(t.Out, out, t.over) })
	} else if t.tty { // a terminal that nobody reads stops its writers
		t.copies.Go(func() { copyOut(io.Discard, out, t.over) })
	}
	if t.errs != nil {
		t.copies.Go(func() { copyOut(t.Err, t.errs, t.over) })
	}
}

// drain waits until the client has all output. When ctx ends the client's ends
// do not take any more, so this ends too.
func (t *talk) drain(ctx context.Context) {
	stop := context.AfterFunc(ctx, t.close)
	defer stop()
	t.copies.Wait()
}

// hangUp closes our ends and waits for whoever still writes to the client.
func (t *talk) hangUp() {
	t.close()
	t.copies.Wait()
}

func (t *talk) close() {
	for _, f := range []*os.File{t.master, t.in, t.out, t.errs} {
		if f != nil {
			f.Close()
		}
	}
}
