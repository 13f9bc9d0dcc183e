package keeper

import (
	"context"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"slipway/sandbox/program/runner"
	"slipway/sandbox/wire"
)

// Programs is the Starter of a real keeper: what package program built, package
// runner runs.
type Programs struct{}

// Start maps the program, runs it and unmaps it.
func (Programs) Start(ctx context.Context, memfd int, fds []int, want int) (Started, error) {
	l, err := runner.Load(memfd, fds)
	if err != nil {
		return Started{}, &wire.Error{Step: "load program: " + err.Error(), Errno: syscall.EINVAL}
	}
	defer l.Close()
	if l.Offers() != want {
		return Started{}, &wire.Error{Step: "load program: number of offered descriptors", Errno: syscall.EINVAL}
	}
	c, err := l.Start(ctx)
	var f *runner.Failed
	if errors.As(err, &f) {
		if f.Left != nil { // an orphan from now on: swept when it has ended
			unix.Close(f.Left.Pidfd)
		}
		return Started{}, &StepError{Index: f.Step, Errno: f.Errno}
	}
	if err != nil {
		return Started{}, err
	}
	return Started{Pid: c.Pid, Pidfd: c.Pidfd, Offered: c.Offered}, nil
}
