package keeper

import (
	"fmt"

	"golang.org/x/sys/unix"

	"slipway/sandbox/logfile"
	"slipway/sandbox/wire"
)

// prepare opens log.json and finishes what an earlier keeper was killed over:
// a batch that is still in the staging pipe. Before the pump is armed.
func (p *pump) prepare() error {
	if p.stageR < 0 {
		return nil
	}
	var n note
	known := false
	if record := p.item.fd(wire.FdRecord); record >= 0 {
		n, known = readNote(record)
		fd, err := openNote(record)
		if err != nil {
			p.k.log.Printf("log of %s: %v", p.item.id, err) // a full disk must not stop a container
		}
		p.note = fd
	}
	if known {
		p.framer.Restore(n.Partial)
		p.lost = n.Lost
	}
	if staged := queued(p.stageR); staged > 0 {
		if err := p.recover(n, known, min(staged, logfile.Batch)); err != nil {
			return err
		}
	}
	p.next()
	if p.log < 0 || known {
		return nil
	}
	_, err := p.mark(logfile.Stdout) // now, while there is space for the block
	if err != nil {
		p.k.log.Printf("log of %s: %v", p.item.id, err)
	}
	return nil
}

// recover lands the batch of an earlier keeper: the log is cut back to where it
// stood before, and the batch written again.
func (p *pump) recover(n note, known bool, staged int) error {
	b, err := p.k.buffers.get()
	if err != nil {
		return fmt.Errorf("recover log: %w", err)
	}
	defer p.k.buffers.put(b)
	b.fit(p.stageR)
	if known && inode(p.log) != n.File {
		p.next()
	}
	if p.log < 0 {
		p.consume(b.in, staged)
		return nil
	}
	size := p.size()
	if known && inode(p.log) == n.File && n.Offset <= size {
		if err := unix.Ftruncate(p.log, n.Offset); err != nil {
			return &wire.Error{Step: "recover log", Errno: errnoOf(err)}
		}
		size = n.Offset
	}
	p.land(n.stream(), b, staged, size)
	_, _ = p.mark(n.stream())
	return nil
}

// next goes on in the file that a Reopen brought whose answer was lost.
func (p *pump) next() {
	k := p.k
	k.mu.Lock()
	defer k.mu.Unlock()
	fd, ok := p.item.fds[wire.FdLogNext]
	if !ok {
		return
	}
	delete(p.item.fds, wire.FdLogNext)
	if p.log >= 0 {
		unix.Close(p.log)
	}
	p.log, p.item.fds[wire.FdLog] = fd, fd
}

func inode(fd int) uint64 {
	var st unix.Stat_t
	_ = unix.Fstat(fd, &st)
	return st.Ino
}
