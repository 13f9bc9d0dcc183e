package keeper

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"slipway/sandbox/logfile"
)

// batch moves up to 64 KiB of one stream into the log; it returns 0 when there
// is nothing to read. With the turn. The order is essential:
//
//  1. the end of the log is noted, in log.json, while the staging pipe is empty;
//  2. the batch goes from the FIFO into the staging pipe (splice: it is in one
//     kernel pipe or the other, never here alone);
//  3. it is looked at through the scratch pipe (tee), framed and written;
//  4. it is taken out of the staging pipe, in one read.
//
// Killed after 2 and before 4, the batch is found in the staging pipe and the
// log is cut back to 1 (recover). Noting after the splice was tried and loses
// data: a batch can then be staged that the note does not know.
func (p *pump) batch(s logfile.Stream, b *buffer) int {
	if !p.tty && queued(p.src[s]) == 0 {
		return 0
	}
	if p.log < 0 {
		return p.discard(s, b)
	}
	size, err := p.mark(s)
	if err != nil {
		p.k.log.Printf("log of %s: %v", p.item.id, err) // the note is for a crash; the log goes on
	}
	b.fit(p.stageR)
	n, err := p.fill(s, p.stageW)
	if n == 0 {
		p.hangup(err)
		return 0
	}
	p.hungUp = false
	state, lost := p.framer.State(), p.lost
	p.land(s, b, n, size)
	if p.framer.State() != state || p.lost != lost { // the next keeper must know what the log is owed
		_, _ = p.mark(s)
	}
	return n
}

// fill moves output of a stream into a pipe without waiting, whatever the
// container did to the modes of the FIFO.
func (p *pump) fill(s logfile.Stream, to int) (int, error) {
	return again(func() (int, error) {
		n, err := unix.Splice(p.src[s], nil, to, nil, logfile.Batch, unix.SPLICE_F_NONBLOCK)
		return int(max(n, 0)), err
	})
}

// hangup notes that no slave of the terminal is open: until one is opened
// again, reading gives EIO and epoll tells it for ever.
func (p *pump) hangup(err error) {
	p.hungUp = p.tty && errors.Is(err, unix.EIO)
}

// land writes the n bytes of the staging pipe to the log and takes them out of it.
func (p *pump) land(s logfile.Stream, b *buffer, n int, size int64) {
	data := p.peek(b, n)
	p.write(s, b, data, size)
	p.copyOut(s, data)
	p.consume(b.in, len(data))
	if rest := n - len(data); rest > 0 { // a tee that saw less: cannot be with equal pipes
		got := p.consume(b.in, rest)
		p.write(s, b, b.in[:got], p.size())
		p.copyOut(s, b.in[:got])
	}
}

// peek returns the first n bytes of the staging pipe, which stay there.
func (p *pump) peek(b *buffer, n int) []byte {
	t, err := again(func() (int, error) {
		k, err := unix.Tee(p.stageR, b.w, n, unix.SPLICE_F_NONBLOCK)
		return int(max(k, 0)), err
	})
	if err != nil {
		return b.in[:0]
	}
	return b.in[:readPipe(b.r, b.in[:t])]
}

// consume takes n bytes out of the staging pipe: the second half of a batch.
func (p *pump) consume(in []byte, n int) int { return readPipe(p.stageR, in[:n]) }

// readPipe reads what is known to be in a pipe: one read, more only when the
// container wrote packets.
func readPipe(fd int, b []byte) int {
	n := 0
	for n < len(b) && (n == 0 || queued(fd) > 0) {
		k, err := again(func() (int, error) { return unix.Read(fd, b[n:]) })
		if err != nil || k == 0 {
			break
		}
		n += k
	}
	return n
}

// discard reads output that has no log, for those who are attached.
func (p *pump) discard(s logfile.Stream, b *buffer) int {
	n, err := p.fill(s, b.w)
	if n == 0 {
		p.hangup(err)
		return 0
	}
	p.hungUp = false
	p.copyOut(s, b.in[:readPipe(b.r, b.in[:n])])
	return n
}

// mark notes the end of the log, before the staging pipe is filled.
func (p *pump) mark(s logfile.Stream) (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(p.log, &st); err != nil {
		return -1, fmt.Errorf("end of the log: %w", err)
	}
	if p.note < 0 {
		return st.Size, nil
	}
	n := note{Version: 1, Offset: st.Size, File: st.Ino, Stream: s.String(), Partial: p.framer.State(), Lost: p.lost}
	if _, err := again(func() (int, error) { return unix.Pwrite(p.note, n.encode(), 0) }); err != nil {
		return st.Size, fmt.Errorf("note the end of the log: %w", err)
	}
	return st.Size, nil
}

// size returns the end of the log, -1 when it cannot be told.
func (p *pump) size() int64 {
	var st unix.Stat_t
	if unix.Fstat(p.log, &st) != nil {
		return -1
	}
	return st.Size
}

// write frames a batch and appends it. When the log cannot take it, the batch
// is taken back whole and counted: the container must never wait for a disk
// that is full. One line says so when there is space again.
func (p *pump) write(s logfile.Stream, b *buffer, data []byte, size int64) {
	if len(data) == 0 {
		return
	}
	p.framer.Begin(time.Now())
	state := p.framer.State()
	err := p.room(size)
	if err == nil {
		err = p.marker(b)
	}
	for rest := data; len(rest) > 0 && err == nil; {
		var out []byte
		out, rest = p.framer.Frame(b.out[:0], s, rest)
		err = p.append(out)
	}
	if err == nil {
		p.lost, p.why = 0, nil
		return
	}
	if p.lost == 0 {
		p.k.log.Printf("log of %s: output is dropped until it can be written: %v", p.item.id, err)
	}
	if size >= 0 {
		_ = unix.Ftruncate(p.log, size)
	}
	p.framer.Restore(state)
	p.lost += uint64(len(data))
	p.dropped += uint64(len(data))
	p.why = err
}

// room asks, after a loss, for as much space as any batch takes: small batches
// would fit where large ones do not, and leave a marker between any two.
func (p *pump) room(size int64) error {
	if p.lost == 0 || size < 0 {
		return nil
	}
	_, err := again(func() (int, error) {
		return 0, unix.Fallocate(p.log, unix.FALLOC_FL_KEEP_SIZE, size, 2*logfile.Batch)
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}

// marker writes the line that stands for the bytes lost before.
func (p *pump) marker(b *buffer) error {
	if p.lost == 0 {
		return nil
	}
	return p.append(p.framer.Dropped(b.out[:0], p.lost, p.reason()))
}

// reason says why output was dropped.
func (p *pump) reason() string {
	if p.why == nil { // the keeper that knew is gone
		return "the log could not be written"
	}
	return errnoOf(p.why).Error()
}

// append writes to the end of the log.
func (p *pump) append(out []byte) error {
	for len(out) > 0 {
		n, err := again(func() (int, error) { return unix.Write(p.log, out) })
		if err != nil {
			return err
		}
		out = out[n:]
	}
	return nil
}
