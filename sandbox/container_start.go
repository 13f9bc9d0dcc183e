package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"slipway/oci"
	"slipway/sandbox/cgroup"
	"slipway/sandbox/linux"
	"slipway/sandbox/program"
	"slipway/sandbox/wire"
)

// startErrorCode is the exit code of a container whose process could not be
// made, as containerd reports it.
const startErrorCode = 128

// StartContainer makes a container's process. When it returns nil the process
// has made its execve; otherwise the container has ended with reason
// StartError, and the message says which step failed on what.
//
// Errors: ErrNotFound, ErrState (it has been started before, or its pod is not
// ready), and what the failing step said.
func (p *Pods) StartContainer(ctx context.Context, id string) error {
	c, err := p.container(id)
	if err != nil {
		return err
	}
	c.pod.op.RLock()
	defer c.pod.op.RUnlock()
	c.op.Lock()
	defer c.op.Unlock()
	if err := p.startable(c); err != nil {
		return fmt.Errorf("start %s: %w", c.name(), err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), createLimit)
	defer cancel()
	if err := p.startContainer(ctx, c); err != nil {
		err = fmt.Errorf("start %s: %w", c.name(), err)
		p.failStart(c, err)
		return err
	}
	return nil
}

func (p *Pods) startable(c *container) error {
	if c.gone {
		return ErrNotFound
	}
	if !c.pod.snapshot.Load().Ready {
		return fmt.Errorf("%s is not ready: %w", podName(c.pod.config.GetMetadata()), ErrState)
	}
	switch c.snapshot.Load().State {
	case Running:
		return fmt.Errorf("it runs already: %w", ErrState)
	case Exited:
		return fmt.Errorf("it has ended; a container is started once: %w", ErrState)
	}
	return nil
}

// failStart records that the process never came to be.
func (p *Pods) failStart(c *container, cause error) {
	e := exitRecord{
		Version: formatVersion, Code: startErrorCode,
		FinishedAt: time.Now().UnixNano(), Reason: ReasonStartError, Message: cause.Error(),
	}
	if err := writeOnce(c.dir, exitFile, e); err != nil {
		p.log.Error("exit record", "container", c.id, "error", err)
	}
	p.publishContainer(c, c.snapshot.Load().exited(e), EventStopped)
	c.over.Do(func() { close(c.ended) })
}

// startContainer is the straight line of a start.
func (p *Pods) startContainer(ctx context.Context, c *container) (err error) {
	spec, err := c.spec()
	if err != nil {
		return err
	}
	u := newUndo()
	defer u.run(ctx, &err)

	u.add(func(ctx context.Context) error { return p.removeGroup(ctx, c) })
	group, err := p.o.Cgroups.Create(ctx, p.cgroupPath(c.pod, c.id), spec.Linux.Resources)
	if err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	defer group.Close()
	if err := p.limit(ctx, c, group); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	gate, err := group.Gate(ctx)
	if err != nil {
		return err
	}
	defer gate.Close()

	files := newFiles()
	defer files.close()
	u.add(func(context.Context) error { return os.RemoveAll(p.ioDir(c.id)) })
	b := &program.Container{Spec: spec, PidInit: -1, NoFile: p.o.NoFile, Stdio: program.Stdio{In: -1, Out: -1, Err: -1}}
	if err := p.plumb(c, spec, files, b); err != nil {
		return err
	}
	if err := p.place(ctx, c, group, files, b); err != nil {
		return err
	}
	b.Cgroup.Gate = gate.Fd()
	prog, err := b.Build(ctx)
	if err != nil {
		return err
	}
	defer prog.Close()
	files.named[wire.FdMaster], files.named[fdDevpts] = prog.Terminal()
	c.kept = true
	u.add(func(ctx context.Context) error {
		err := p.link.drop(ctx, c.id)
		c.kept = err != nil
		return err
	})
	at := time.Now() // not after: it may have ended before we hear of its start
	ch, err := p.spawnGated(ctx, gate, spawn{ID: c.id, Kind: wire.KindContainer, Program: prog, Fds: files.named})
	if err != nil {
		return err
	}
	return p.started(c, ch, at)
}

// started records a process and shows it to all. An end that was told before
// this point is waiting for c.op.
func (p *Pods) started(c *container, ch child, at time.Time) error {
	if err := recordStart(c.dir, startedFile, ch.Pid, at); err != nil {
		_ = linux.Close(ch.Pidfd)
		return err
	}
	c.process = &process{pid: ch.Pid, pidfd: ch.Pidfd}
	p.publishContainer(c, c.snapshot.Load().running(ch.Pid, at), EventStarted)
	return nil
}

// recordStart writes down which process it is. One that is gone already has no
// start time, and nobody will look for it: its end is told by other means.
func recordStart(dir, name string, pid int, at time.Time) error {
	ticks, err := startTime(pid)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return writeRecord(dir, name, processRecord{Version: formatVersion, Pid: pid, StartTime: ticks, At: at.UnixNano()})
}

// spec reads back what was decided at create. Environment values may be any
// bytes, which JSON cannot hold: they come from the request.
func (c *container) spec() (*specs.Spec, error) {
	if c.decided != nil {
		spec := c.decided
		c.decided = nil
		return spec, nil
	}
	spec, err := readSpec(c.dir)
	if err != nil {
		return nil, err
	}
	oci.RestoreEnv(spec, c.config)
	return spec, nil
}

func readSpec(dir string) (*specs.Spec, error) {
	b, err := os.ReadFile(filepath.Join(dir, specFile))
	if err != nil {
		return nil, err
	}
	spec := new(specs.Spec)
	if err := json.Unmarshal(b, spec); err != nil {
		return nil, fmt.Errorf("%s: %w", specFile, err)
	}
	return spec, nil
}

// limit applies what was updated between create and start.
func (p *Pods) limit(ctx context.Context, c *container, g *cgroup.Group) error {
	if c.resources == nil {
		return nil
	}
	limits, err := p.limits(c.resources)
	if err != nil {
		return err
	}
	return g.Update(ctx, limits)
}

// files are the fds of one start: what the keeper keeps by name, and what is
// needed for the start alone. All are ours and closed at its end.
type files struct {
	named map[string]int
	other []int
}

func newFiles() *files { return &files{named: map[string]int{}} }

func (f *files) add(fd int) int {
	f.other = append(f.other, fd)
	return fd
}

func (f *files) close() {
	for _, fd := range f.named {
		if fd >= 0 {
			_ = linux.Close(fd)
		}
	}
	for _, fd := range f.other {
		_ = linux.Close(fd)
	}
}

// plumb opens what the container's input, output and records go through.
func (p *Pods) plumb(c *container, spec *specs.Spec, f *files, b *program.Container) error {
	dir, err := syscall.Open(c.dir, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: c.dir, Err: err}
	}
	f.named[wire.FdRecord] = dir
	if c.record.LogPath != "" {
		log, err := linux.OpenLog(c.record.LogPath)
		if err != nil {
			return fmt.Errorf("log: %w", err)
		}
		f.named[wire.FdLog] = log
	}
	var stage [2]int
	if err := syscall.Pipe2(stage[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	f.named[wire.FdStageR], f.named[wire.FdStageW] = stage[0], stage[1]
	if spec.Process.Terminal {
		return nil
	}
	return p.plumbStreams(c, spec, f, b)
}

// plumbStreams makes the FIFOs: they have names, so that a new daemon finds
// them when both processes have died. The container holds its ends read-write,
// so that no write of it ever fails; it may open them again by /dev/stdout, so
// they belong to its user.
func (p *Pods) plumbStreams(c *container, spec *specs.Spec, f *files, b *program.Container) error {
	if err := os.MkdirAll(p.ioDir(c.id), 0o700); err != nil {
		return err
	}
	uid, gid, err := outside(spec)
	if err != nil {
		return err
	}
	for name, end := range map[string]*int{wire.FdStdout: &b.Stdio.Out, wire.FdStderr: &b.Stdio.Err} {
		ours, theirs, err := makeFIFO(filepath.Join(p.ioDir(c.id), name), uid, gid)
		if err != nil {
			return err
		}
		f.named[name], *end = ours, f.add(theirs)
	}
	if !c.config.GetStdin() {
		null, err := openNull(syscall.O_RDONLY)
		if err != nil {
			return err
		}
		b.Stdio.In = f.add(null)
		return nil
	}
	ours, theirs, err := makeStdin(filepath.Join(p.ioDir(c.id), fdStdin), uid, gid, c.config.GetStdinOnce())
	if err != nil {
		return err
	}
	f.named[fdStdin], b.Stdio.In = ours, f.add(theirs)
	return nil
}

// makeStdin makes the FIFO of a container's input. One that is closed after the
// first attach is not held for writing by the container, so that it reads the
// end when we let go of ours; it would also read it if both our processes died.
// Any other has no end.
func makeStdin(path string, uid, gid int, once bool) (ours, theirs int, err error) {
	ours, theirs, err = makeFIFO(path, uid, gid)
	if err != nil || !once {
		return ours, theirs, err
	}
	both := []int{ours, theirs}
	defer func() { linux.CloseAll(both...) }()
	if theirs, err = syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err != nil {
		return -1, -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if ours, err = syscall.Open(path, syscall.O_WRONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0); err != nil {
		_ = linux.Close(theirs)
		return -1, -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return ours, theirs, nil
}

// makeFIFO opens a new FIFO twice: whether an end blocks belongs to the open
// file, and only ours may not.
func makeFIFO(path string, uid, gid int) (ours, theirs int, err error) {
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return -1, -1, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	if err := os.Chown(path, uid, gid); err != nil {
		return -1, -1, err
	}
	if ours, err = syscall.Open(path, syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0); err != nil {
		return -1, -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if theirs, err = syscall.Open(path, syscall.O_RDWR|syscall.O_CLOEXEC, 0); err != nil {
		_ = linux.Close(ours)
		return -1, -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return ours, theirs, nil
}

// place says where the process will live: cgroup, namespaces, root, filter.
func (p *Pods) place(ctx context.Context, c *container, g *cgroup.Group, f *files, b *program.Container) error {
	into, procs, err := g.Join()
	if err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	if into >= 0 {
		f.add(into)
	}
	for _, fd := range procs {
		f.add(fd)
	}
	b.Cgroup = program.Cgroup{Into: into, Procs: procs}
	oom, err := g.OOM()
	switch {
	case err == nil:
		f.named[wire.FdOOM] = oom
	case !errors.Is(err, cgroup.ErrUnsupported):
		return fmt.Errorf("cgroup: %w", err)
	}
	conf, err := p.confine(b.Spec)
	if err != nil {
		return err
	}
	c.running.Store(conf)
	if conf.filter != nil {
		b.Filter, b.FilterFlags = conf.filter.Program, conf.filter.Flags
	}
	root, err := p.o.Images.Root(c.id)
	if err != nil {
		return err
	}
	b.Root = programRoot(root)
	b.Root.Readonly = b.Spec.Root.Readonly
	if b.Volumes, err = p.imageVolumes(c); err != nil {
		return err
	}
	if b.Mappings, err = p.mappings(ctx, c, f, b.Spec); err != nil {
		return err
	}
	return p.joinNamespaces(ctx, c, f, b)
}
