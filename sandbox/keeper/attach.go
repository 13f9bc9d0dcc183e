package keeper

import (
	"slices"

	"golang.org/x/sys/unix"

	"slipway/sandbox/logfile"
	"slipway/sandbox/wire"
)

// attacher is a pipe that gets a copy of the output.
type attacher struct {
	id     string
	fd     int
	stream [2]bool // by logfile.Stream
}

// attach adds a pipe. A second one of the same name replaces the first.
func (p *pump) attach(m *wire.AttachOut, fd int) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return &wire.Error{Step: "attach", Path: m.ID, Errno: errnoOf(err)}
	}
	if !p.take(turnLimit) {
		return &wire.Error{Step: "attach: a write does not end", Path: m.ID, Errno: unix.EBUSY}
	}
	defer p.give()
	if p.closed {
		return &wire.Error{Step: "attach: the container has ended", Path: m.ID, Errno: unix.ESRCH}
	}
	p.cut(m.Attacher)
	p.attached = append(p.attached, attacher{id: m.Attacher, fd: fd, stream: [2]bool{m.Stdout, m.Stderr}})
	return nil
}

// detach closes the pipe of an attacher.
func (p *pump) detach(id string) error {
	if !p.take(turnLimit) {
		return &wire.Error{Step: "detach: a write does not end", Errno: unix.EBUSY}
	}
	defer p.give()
	p.cut(id)
	return nil
}

// cut closes the pipe of an attacher. With the turn.
func (p *pump) cut(id string) {
	p.attached = slices.DeleteFunc(p.attached, func(a attacher) bool {
		if a.id == id {
			unix.Close(a.fd)
		}
		return a.id == id
	})
}

// copyOut gives a batch to those who are attached. One whose pipe is full is
// cut: the log and the container wait for nobody. With the turn.
func (p *pump) copyOut(s logfile.Stream, data []byte) {
	for _, a := range slices.Clone(p.attached) {
		if !a.stream[s] {
			continue
		}
		n, err := again(func() (int, error) { return unix.Write(a.fd, data) })
		if err == nil && n == len(data) {
			continue
		}
		why := "does not read fast enough"
		if err != nil && err != unix.EAGAIN {
			why = errnoOf(err).Error()
		}
		p.cut(a.id)
		go p.k.tell(&wire.Detached{ID: p.item.id, Attacher: a.id, Reason: why})
	}
}

// takeAttached returns the pipes of a pump that nobody uses any more.
func (p *pump) takeAttached() []int {
	var fds []int
	for _, a := range p.attached {
		fds = append(fds, a.fd)
	}
	p.attached = nil
	if p.note >= 0 {
		fds = append(fds, p.note)
		p.note = -1
	}
	return fds
}
