package program

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
	"slipway/sandbox/program/runner"
)

// Keeper is a keeper to start.
type Keeper struct {
	Binary []byte   // the executable; it runs from a sealed copy of it (CVE-2019-5736)
	Args   []string // argv
	Env    []string
	Files  []int // become 0, 1, 2 ... in this order; the caller's to close
}

// StartKeeper starts the keeper: a child of this process, in a mount namespace
// with nothing in it but an empty read-only root, with a session of its own. It
// sees no file. The caller reaps it and closes the pidfd.
func StartKeeper(ctx context.Context, k Keeper) (pid, pidfd int, err error) {
	p := newProgram(newAssembly())
	defer p.Close()
	if err := k.build(p.a); err != nil {
		return 0, -1, fmt.Errorf("start keeper: %w", err)
	}
	c, err := p.startHere(ctx)
	if err != nil {
		return 0, -1, fmt.Errorf("start keeper: %w", err)
	}
	return c.Pid, c.Pidfd, nil
}

// startHere starts a program in this process.
func (p *Program) startHere(ctx context.Context) (Child, error) {
	memfd, err := p.Seal()
	if err != nil {
		return Child{}, err
	}
	defer unix.Close(memfd)
	l, err := Load(memfd, p.Fds())
	if err != nil {
		return Child{}, err
	}
	defer l.Close()
	c, err := l.Start(ctx)
	if f, ok := err.(*Failed); ok { // Start wraps nothing around it
		return c, p.Failure(f.Step, f.Errno)
	}
	return c, err
}

func (k *Keeper) build(a *assembly) error {
	if len(k.Args) == 0 || len(k.Files) < 3 {
		return fmt.Errorf("%w: a keeper needs arguments, and stdin, stdout and stderr", ErrInvalid)
	}
	image, err := linux.SealedMemfd(k.Args[0], k.Binary)
	if err != nil {
		return err
	}
	// The files go to 0, 1, 2 ...: none of those they come from, nor the image,
	// may lie among these numbers.
	image, err = above(image, len(k.Files))
	if err != nil {
		return err
	}
	a.own(image)
	root, err := linux.NewFS("tmpfs", noDevices, linux.Option{Key: "mode", Value: "555"}, linux.Option{Key: "nr_inodes", Value: "1"})
	if err != nil {
		return err
	}
	if root, err = above(root, len(k.Files)); err != nil {
		return err
	}
	a.own(root)
	if err := linux.SetAttr(root, false, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return err
	}
	a.form.Clone = unix.CLONE_NEWNS
	a.signals()
	a.attachRoot(root)
	a.enterRoot()
	a.call("new session", unix.SYS_SETSID)
	a.call("set umask", unix.SYS_UMASK, 0o077)
	for i, f := range k.Files {
		high, err := unix.FcntlInt(uintptr(f), unix.F_DUPFD_CLOEXEC, len(k.Files)+3)
		if err != nil {
			return fmt.Errorf("file %d of the keeper: %w", i, err)
		}
		a.own(high)
		a.call("pass descriptor", unix.SYS_DUP3, fd(high), i, 0)
	}
	a.about(k.Args[0])
	a.call("close descriptors on exec", unix.SYS_CLOSE_RANGE, len(k.Files), 0xffffffff, unix.CLOSE_RANGE_CLOEXEC)
	a.call("exec", unix.SYS_EXECVEAT, fd(image), "", a.pointers(k.Args), a.pointers(k.Env), unix.AT_EMPTY_PATH)
	a.last().Flags |= runner.FlagExec
	return nil
}

// above moves a descriptor to a number of at least n+3.
func above(fd, n int) (int, error) {
	defer unix.Close(fd)
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, n+3)
}
