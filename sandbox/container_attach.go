package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"slipway/sandbox/linux"
	"slipway/sandbox/wire"
)

const (
	// attachBuffer is how far behind a client may be before it is cut: the
	// container and its log wait for nobody.
	attachBuffer = 1 << 20
	// tellTime is how long after the end of a pipe its reason may come.
	tellTime = time.Second
)

var errSlow = errors.New("cut off: the client does not read as fast as the container writes")

// Attach ties a client to a running container until either ends: Out and Err get
// what the container writes from now on, In goes to its input, if it has one. Any
// number of clients may be attached. A container created with stdin_once reads
// the end of its input when the first client with input ends it or goes; no
// other end of a client is seen by the container.
//
// Errors: ErrNotFound, ErrInvalid (no input), ErrState (it does not run), and why
// the client was cut.
func (p *Pods) Attach(ctx context.Context, id string, s Streams) error {
	c, err := p.container(id)
	if err != nil {
		return err
	}
	if s.In != nil && !c.config.GetStdin() {
		return fmt.Errorf("attach to %s: it was created without stdin: %w", c.name(), ErrInvalid)
	}
	if c.snapshot.Load().State != Running {
		return fmt.Errorf("attach to %s: it does not run: %w", c.name(), ErrState)
	}
	if err := p.attach(ctx, c, s); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("attach to %s: %w", c.name(), err)
	}
	return nil
}

func (p *Pods) attach(ctx context.Context, c *container, s Streams) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.config.GetTty() && s.Resize != nil {
		master, err := p.borrowFile(c, wire.FdMaster)
		if err != nil {
			return err
		}
		defer master.Close()
		go resize(master, s.Resize)
	}
	typed := make(chan struct{})
	begin := func() {}
	if s.In != nil {
		in, err := p.openInput(ctx, c)
		if err != nil {
			return err
		}
		defer in.leave()
		begin = func() { // the goroutine ends with the client's input or the session
			go func() {
				defer close(typed)
				in.copy(s.In)
			}()
		}
	}
	if s.Out != nil || s.Err != nil {
		return p.follow(ctx, c, s, sync.OnceFunc(begin))
	}
	begin()
	select {
	case <-typed:
		return nil
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// borrowFile opens a descriptor that is held for a container.
func (p *Pods) borrowFile(c *container, name string) (*os.File, error) {
	fd, err := p.link.borrow(c.id, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("its %s was lost when both processes died: %w", name, ErrState)
	}
	if err != nil {
		return nil, err
	}
	return pollable(fd, name)
}

// follow copies output until the container ends, and calls begin once none of it
// can be missed: the answer to what the client types. A new keeper knows nothing
// of those who are attached: then it is asked again.
func (p *Pods) follow(ctx context.Context, c *container, s Streams, begin func()) error {
	for {
		reason, err := p.followOnce(ctx, c, s, begin)
		if errors.Is(err, syscall.ESRCH) || errors.Is(err, syscall.ENOENT) {
			return nil // it has ended
		}
		if err != nil {
			return err
		}
		t := time.NewTimer(tellTime)
		select {
		case <-reason:
			t.Stop()
			return errSlow
		case <-c.ended:
			t.Stop()
			return nil
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}

// followOnce copies output until the keeper closes the pipes. reason is closed
// when it did so because the client is slow.
func (p *Pods) followOnce(ctx context.Context, c *container, s Streams, begin func()) (reason <-chan struct{}, err error) {
	id := newID()[:12]
	slow := p.attached.add(id)
	defer p.attached.remove(id)
	var copies sync.WaitGroup
	defer copies.Wait()
	for name, w := range map[string]io.Writer{"out": s.Out, "err": s.Err} {
		if w == nil {
			continue
		}
		r, err := p.tap(ctx, c, wire.AttachOut{ID: c.id, Attacher: id + "." + name, Stdout: name == "out", Stderr: name == "err"})
		if err != nil {
			return nil, err
		}
		defer p.untap(c, id+"."+name)
		stop := context.AfterFunc(ctx, func() { r.Close() })
		copies.Go(func() {
			defer r.Close()
			defer stop()
			_, _ = io.Copy(w, r)
		})
	}
	begin()
	copies.Wait()
	return slow, nil
}

// tap has the keeper copy output to a pipe, of which it returns the other end. It
// is not cut short: nobody would know whether there is something to undo.
func (p *Pods) tap(ctx context.Context, c *container, a wire.AttachOut) (*os.File, error) {
	r, w, err := pipe(true)
	if err != nil {
		return nil, err
	}
	defer linux.Close(w)
	linux.WidenPipe(w, attachBuffer)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killLimit)
	defer cancel()
	if err := p.link.attachOut(ctx, a, w); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// untap ends tap. The keeper would find out with the next output, which may
// never come.
func (p *Pods) untap(c *container, attacher string) {
	ctx, cancel := context.WithTimeout(context.Background(), killLimit)
	defer cancel()
	if err := p.link.detachOut(ctx, c.id, attacher); err != nil {
		p.log.Debug("detach", "container", c.id, "error", err)
	}
}

// attached are the clients of running containers. The zero value is ready.
type attached struct {
	mu     sync.Mutex               // guards the fields below
	slow   map[string]chan struct{} // by the first part of the attacher's name; closed when cut
	inputs map[string]*input        // by container, for stdin_once
}

func (a *attached) add(id string) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.slow == nil {
		a.slow = map[string]chan struct{}{}
	}
	c := make(chan struct{})
	a.slow[id] = c
	return c
}

func (a *attached) remove(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.slow, id)
}

// cut is told by the link when the keeper has cut an attacher.
func (a *attached) cut(m wire.Detached) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(m.Attacher) < 12 {
		return
	}
	if c := a.slow[m.Attacher[:12]]; c != nil && !isClosed(c) {
		close(c)
	}
}
