package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox/cgroup"
	"slipway/sandbox/linux"
	"slipway/sandbox/wire"
)

// nodeRebootCode is what a container reports that a reboot has ended.
const nodeRebootCode = 255

// recoverContainers reads the containers of a pod. State is which files exist:
//
//	no container.json         never came to be: taken away
//	exit.json                 exited
//	held by the keeper        running, or ended and not yet recorded
//	started.json              running without a keeper: adopted, or ended unseen
//	else                      created
func (p *Pods) recoverContainers(ctx context.Context, s *pod, boot string, keeps map[string]*held) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		c, err := p.readContainer(ctx, s, e.Name())
		if err != nil {
			p.later("a container with a bad record", func(ctx context.Context) error {
				return p.quarantineContainer(ctx, s, e.Name(), err)
			})
			continue
		}
		if c == nil {
			continue
		}
		p.publishContainer(c, c.describe())
		p.made(containerKey(s.id, c.config.GetMetadata()), &making{
			what: c.name(), id: c.id, config: c.config,
			fresh: func() bool { return c.snapshot.Load().State == Created },
		})
		p.recoverContainer(ctx, c, boot, keeps)
	}
	return nil
}

// readContainer reads a container's own records. nil, nil: there never was one.
func (p *Pods) readContainer(ctx context.Context, s *pod, id string) (*container, error) {
	c := &container{id: id, pod: s, dir: p.containerDir(s.id, id), config: &cri.ContainerConfig{}, ended: make(chan struct{})}
	switch err := readRecord(c.dir, containerFile, &c.record); {
	case errors.Is(err, fs.ErrNotExist):
		if err := p.o.Images.RemoveRoot(ctx, id); err != nil {
			return nil, err
		}
		return nil, os.RemoveAll(c.dir)
	case err != nil:
		return nil, err
	}
	if c.record.ID != id || c.record.Pod != s.id {
		return nil, fmt.Errorf("%s: holds the record of %q in %q", c.dir, c.record.ID, c.record.Pod)
	}
	if err := decodeMessage(c.record.Config, c.config); err != nil {
		return nil, err
	}
	var r resourcesRecord
	switch err := readRecord(c.dir, resourcesFile, &r); {
	case err == nil:
		c.resources = &cri.LinuxContainerResources{}
		return c, decodeMessage(r.Resources, c.resources)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	return c, nil
}

func (p *Pods) recoverContainer(ctx context.Context, c *container, boot string, keeps map[string]*held) {
	var started processRecord
	err := readRecord(c.dir, startedFile, &started)
	wasStarted := !errors.Is(err, fs.ErrNotExist)
	if wasStarted && err != nil { // it ran, but which process it was is lost
		p.setAside(c.dir, startedFile, err)
		started = processRecord{}
	}
	h := keeps[c.id]
	c.kept = h != nil
	if wasStarted {
		p.publishContainer(c, c.snapshot.Load().running(started.Pid, unixNano(started.At)))
	}
	switch {
	case exists(filepath.Join(c.dir, exitFile)): // what is said here holds only when it is bad
		p.endAtStart(c, unseenEnd("its exit record is bad"))
	case boot != p.boot:
		p.endAtStart(c, exitRecord{
			Version: formatVersion, Code: nodeRebootCode, Reason: ReasonNodeReboot,
			FinishedAt: time.Now().UnixNano(), Message: "the node was rebooted",
		})
	case h != nil && h.Exit != nil:
		p.endAtStart(c, exitOf(*h.Exit))
	case h == nil && wasStarted && started.Pid == 0:
		p.endAtStart(c, unseenEnd("the record of its start is bad"))
	case h != nil || wasStarted:
		if err := p.takeContainer(ctx, c, started, keeps); err != nil {
			p.log.Error("a container could not be taken over and is ended", "container", c.id, "error", err)
			p.endAtStart(c, unseenEnd("it could not be taken over: "+err.Error()))
		}
	default: // a start may have been cut off before the record
		if err := errors.Join(p.removeGroup(ctx, c), os.RemoveAll(p.ioDir(c.id))); err != nil {
			p.log.Error("a start that was cut off", "container", c.id, "error", err)
		}
	}
}

// unseenEnd is the record of an end whose code nobody knows.
func unseenEnd(message string) exitRecord {
	return exitRecord{
		Version: formatVersion, Code: 255, Unknown: true,
		FinishedAt: time.Now().UnixNano(), Reason: ReasonUnknown, Message: message,
	}
}

// endAtStart is finish for the start of the daemon, which must not wait for
// what an ended container left behind.
func (p *Pods) endAtStart(c *container, e exitRecord) {
	recorded := p.end(c, e)
	p.later("what an ended container used", func(ctx context.Context) error { return p.cleanUp(ctx, c, recorded) })
}

// takeContainer takes over a container that runs, or records that it has ended
// unseen.
func (p *Pods) takeContainer(ctx context.Context, c *container, started processRecord, keeps map[string]*held) error {
	pr, err := p.takeProcess(ctx, c.id, wire.KindContainer, started, keeps, func() (map[string]int, error) { return p.reopenPlumbing(c) })
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		p.endAtStart(c, unseenEnd(""))
		return nil
	}
	if err != nil {
		return err
	}
	c.process, c.kept = pr, true
	at := unixNano(started.At)
	if started.Pid == 0 { // spawned, and the daemon died before it was written down
		at = time.Now()
		if err := recordStart(c.dir, startedFile, pr.pid, at); err != nil {
			return err
		}
	}
	p.publishContainer(c, c.snapshot.Load().running(pr.pid, at))
	return nil
}

// reopenPlumbing opens again, by name, what a container's output goes through:
// both processes that held it have died. The staging pipe of the log had no
// name; what was in it is lost, at most one batch.
func (p *Pods) reopenPlumbing(c *container) (fds map[string]int, err error) {
	f := newFiles()
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if f.named[wire.FdRecord], err = syscall.Open(c.dir, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0); err != nil {
		delete(f.named, wire.FdRecord)
		return nil, err
	}
	if c.record.LogPath != "" {
		log, err := linux.OpenLog(c.record.LogPath)
		if err == nil {
			f.named[wire.FdLog] = log
			err = mendLog(log)
		}
		if err != nil {
			p.log.Error("log of a recovered container", "container", c.id, "error", err)
		}
	}
	for _, name := range []string{wire.FdStdout, wire.FdStderr, fdStdin} {
		if name == fdStdin && c.config.GetStdinOnce() {
			continue // it has read the end; see makeStdin
		}
		fd, err := syscall.Open(filepath.Join(p.ioDir(c.id), name), syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
		if err == nil {
			f.named[name] = fd
		}
	}
	var stage [2]int
	if err := syscall.Pipe2(stage[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		return nil, err
	}
	f.named[wire.FdStageR], f.named[wire.FdStageW] = stage[0], stage[1]
	g, err := p.group(c)
	if err != nil {
		if errors.Is(err, cgroup.ErrNotFound) {
			return f.named, nil
		}
		return nil, err
	}
	defer g.Close()
	if oom, err := g.OOM(); err == nil {
		f.named[wire.FdOOM] = oom
	}
	return f.named, nil
}
