package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"slipway/oci"
	"slipway/sandbox/cgroup"
	"slipway/sandbox/linux"
	"slipway/sandbox/program"
	"slipway/sandbox/wire"
)

const (
	// maxExecOutput bounds each stream of ExecSync in bytes; more is read and
	// thrown away (CVE-2022-31030, CVE-2022-1708).
	maxExecOutput = 16 << 20
	// drainLimit bounds how long output is waited for after the command has
	// ended: a child that it left behind may hold the streams open for ever
	// (CVE-2026-53495).
	drainLimit = 2 * time.Second
)

// ExecSync runs a command in a running container and waits for its end. A
// timeout, if not 0, kills the command and all its children, never the container.
//
// Errors: ErrNotFound, ErrState (it does not run), ErrTimeout, and what the
// failing step said when the command could not be started.
func (p *Pods) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (*ExecResult, error) {
	c, err := p.container(id)
	if err != nil {
		return nil, err
	}
	if len(cmd) == 0 {
		return nil, fmt.Errorf("exec in %s: no command given: %w", c.name(), ErrInvalid)
	}
	r, err := p.execSync(ctx, c, cmd, timeout)
	if err != nil {
		return nil, fmt.Errorf("exec %q in %s: %w", cmd[0], c.name(), err)
	}
	return r, nil
}

func (p *Pods) execSync(ctx context.Context, c *container, cmd []string, timeout time.Duration) (*ExecResult, error) {
	var out, errs capture
	e, err := p.startExec(ctx, c, cmd, &out, &errs)
	if err != nil {
		return nil, err
	}
	defer e.end()
	var expired <-chan time.Time
	if timeout > 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		expired = t.C
	}
	select {
	case x := <-e.exit:
		out.drain(drainLimit)
		errs.drain(drainLimit)
		if x.Unknown {
			return nil, errors.New("its exit code is not known: the keeper died meanwhile")
		}
		return &ExecResult{Stdout: out.taken(), Stderr: errs.taken(), Code: int32(x.Code)}, nil
	case <-expired:
		e.kill()
		out.drain(0)
		errs.drain(0)
		return nil, fmt.Errorf("%w after %s and was killed", ErrTimeout, timeout)
	case <-ctx.Done():
		e.kill()
		out.drain(0)
		errs.drain(0)
		return nil, ctx.Err()
	}
}

// execution is a command that runs: what has to be taken back when it has ended.
type execution struct {
	p     *Pods
	name  string // of its cgroup
	id    string // for the keeper: the container's and the name
	pidfd int
	group *cgroup.Group // of its own, nil where the hierarchy has none
	exit  chan wire.Exit
}

// startExec starts a command with its streams going to out and errs.
func (p *Pods) startExec(ctx context.Context, c *container, cmd []string, out, errs *capture) (_ *execution, err error) {
	f := newFiles()
	defer f.close()
	e, b, err := p.prepareExec(c, cmd, false, f)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			e.end()
		}
	}()
	null, err := openNull(syscall.O_RDONLY)
	if err != nil {
		return nil, err
	}
	b.Stdio.In = f.add(null)
	if b.Stdio.Out, err = out.open(); err != nil {
		return nil, err
	}
	f.add(b.Stdio.Out)
	if b.Stdio.Err, err = errs.open(); err != nil {
		return nil, err
	}
	f.add(b.Stdio.Err)
	prog, err := b.Build(ctx)
	if err != nil {
		return nil, err
	}
	defer prog.Close()
	return e, e.spawn(ctx, prog)
}

func openNull(mode int) (int, error) {
	fd, err := syscall.Open(os.DevNull, mode|syscall.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: os.DevNull, Err: err}
	}
	return fd, nil
}

// prepareExec makes an execution, to be ended, and its program, to which the
// streams are to be added.
func (p *Pods) prepareExec(c *container, cmd []string, tty bool, f *files) (*execution, *program.Exec, error) {
	name := "exec-" + newID()[:12]
	e := &execution{p: p, name: name, id: c.id + "/" + name, pidfd: -1, exit: make(chan wire.Exit, 1)}
	b, err := p.execProgram(c, cmd, tty, f, e)
	if err != nil {
		e.end()
		return nil, nil, err
	}
	return e, b, nil
}

// spawn starts the command.
func (e *execution) spawn(ctx context.Context, prog *program.Program) error {
	e.p.mu.Lock()
	e.p.execs[e.id] = e.exit
	e.p.mu.Unlock()
	ch, err := e.p.link.spawn(ctx, spawn{ID: e.id, Kind: wire.KindExec, Program: prog})
	if err != nil {
		return err
	}
	e.pidfd = ch.Pidfd
	return nil
}

// execProgram says where the command runs: the container's namespaces by the
// pidfd of its init, a child of its cgroup, its filter.
func (p *Pods) execProgram(c *container, cmd []string, tty bool, f *files, e *execution) (*program.Exec, error) {
	init, err := c.borrowInit()
	if err != nil {
		return nil, err
	}
	f.add(init.pidfd)
	conf, err := p.confinement(c)
	if err != nil {
		return nil, err
	}
	process, err := oci.Exec(conf.spec, cmd, tty)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	b := &program.Exec{
		Process: process, Spec: conf.spec, NoFile: p.o.NoFile, Init: init.pidfd, InitPid: init.pid,
		Devpts: -1, Stdio: program.Stdio{In: -1, Out: -1, Err: -1},
	}
	if tty {
		if b.Devpts, err = p.devpts(c, init.pidfd); err != nil {
			return nil, fmt.Errorf("terminal: %w", err)
		}
		f.add(b.Devpts)
	}
	if conf.filter != nil {
		b.Filter, b.FilterFlags = conf.filter.Program, conf.filter.Flags
	}
	if b.Cgroup, err = p.execCgroup(c, e, f); err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	return b, nil
}

// execCgroup makes the command's cgroup. What it is joined by stays open for the
// next command: a probe comes each second.
func (p *Pods) execCgroup(c *container, e *execution, f *files) (program.Cgroup, error) {
	g, err := c.seat.get(func() (*cgroup.Group, error) { return p.group(c) })
	if err != nil {
		return program.Cgroup{}, err
	}
	switch child, err := g.Child(e.name); {
	case err == nil:
		e.group = child
		into, procs, err := child.Seat()
		return program.Cgroup{Into: into, Procs: procs}, err
	case !errors.Is(err, cgroup.ErrUnsupported):
		c.seat.drop(g)
		return program.Cgroup{}, err
	}
	into, procs, err := g.Join()
	f.other = append(f.other, procs...)
	if into >= 0 {
		f.add(into)
	}
	return program.Cgroup{Into: into, Procs: procs}, err
}

// devpts is where the container's terminals come from: as it was mounted, or,
// when both processes have died since, what its init has there.
func (p *Pods) devpts(c *container, init int) (int, error) {
	fd, err := p.link.borrow(c.id, fdDevpts)
	if errors.Is(err, fs.ErrNotExist) {
		fd, err = linux.DevptsOf(init)
	}
	return fd, err
}

// borrowInit returns the container's init with a pidfd of the caller's own.
func (c *container) borrowInit() (process, error) {
	c.op.Lock()
	defer c.op.Unlock()
	if c.process == nil {
		return process{}, fmt.Errorf("it does not run: %w", ErrState)
	}
	fd, err := linux.Dup(c.process.pidfd)
	if err != nil {
		return process{}, err
	}
	return process{pid: c.process.pid, pidfd: fd}, nil
}

// kill ends the command and all that it started, as far as they have a cgroup
// of their own.
func (e *execution) kill() {
	ctx, cancel := context.WithTimeout(context.Background(), killLimit)
	defer cancel()
	if e.group != nil && e.group.Kill(ctx) == nil {
		return
	}
	_ = linux.SignalProcess(e.pidfd, syscall.SIGKILL)
}

// end takes back what the exec used. Children that it left behind go on: their
// cgroup goes with the container's.
func (e *execution) end() {
	e.p.mu.Lock()
	delete(e.p.execs, e.id)
	e.p.mu.Unlock()
	if e.pidfd >= 0 {
		_ = linux.Close(e.pidfd)
	}
	if e.group != nil {
		_, _ = e.group.Dismiss() // else it goes with the container's
	}
}

// capture reads one stream of a command into memory, up to maxExecOutput.
type capture struct {
	r    *os.File
	buf  bytes.Buffer
	done chan struct{}
}

// open makes the pipe and starts reading; the caller closes the write end that
// it returns once the command has it.
func (c *capture) open() (int, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return -1, err
	}
	defer w.Close()
	fd, err := linux.Dup(int(w.Fd()))
	if err != nil {
		r.Close()
		return -1, err
	}
	c.r, c.done = r, make(chan struct{})
	go c.read()
	return fd, nil
}

func (c *capture) read() {
	defer close(c.done)
	defer c.r.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := c.r.Read(b)
		c.buf.Write(b[:min(n, maxExecOutput-c.buf.Len())])
		if err != nil {
			return
		}
	}
}

// drain waits for the end of the stream, at most limit; then it is cut.
func (c *capture) drain(limit time.Duration) {
	_ = c.r.SetReadDeadline(time.Now().Add(limit))
	<-c.done
}

func (c *capture) taken() []byte { return c.buf.Bytes() }
