package keeper

import (
	"golang.org/x/sys/unix"

	"slipway/sandbox/wire"
)

// reopen swaps the log between two batches; fd -1 throws the output away from now on.
func (p *pump) reopen(fd int) error {
	if !p.take(turnLimit) {
		return &wire.Error{Step: "reopen log: a write does not end", Errno: unix.EBUSY}
	}
	defer p.give()
	if p.closed {
		return &wire.Error{Step: "reopen log: the container has ended", Errno: unix.ESRCH}
	}
	if fd >= 0 && p.stageR < 0 {
		return &wire.Error{Step: "reopen log: staging pipe", Errno: unix.EINVAL}
	}
	old := p.log
	p.k.mu.Lock()
	p.log = fd
	delete(p.item.fds, wire.FdLog)
	if fd >= 0 {
		p.item.fds[wire.FdLog] = fd
	}
	p.k.mu.Unlock()
	if old >= 0 {
		unix.Close(old)
	}
	return nil
}
