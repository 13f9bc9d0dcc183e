package wire

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// Conn is one end of the socket. Any number of goroutines may Send, one may Recv.
type Conn struct {
	f   *os.File
	raw syscall.RawConn

	sending sync.Mutex // one message at a time: a message may be several packets
	in      []byte     // of the one receiver
	oob     []byte
}

// Packet is a received message. The descriptors are the receiver's to close.
type Packet struct {
	Seq     uint64
	Message Message
	Fds     []int
}

// NewConn takes over a connected SOCK_SEQPACKET socket.
func NewConn(fd int) (*Conn, error) {
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("keeper socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "keeper socket") // the runtime's poller waits for it
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &Conn{f: f, raw: raw, in: make([]byte, MaxPacket), oob: make([]byte, syscall.CmsgSpace(4*MaxFdsPerPacket))}, nil
}

// Close ends the connection; a waiting Recv or Send returns os.ErrClosed.
func (c *Conn) Close() error { return c.f.Close() }

// SetReadDeadline bounds Recv; the zero time removes the bound.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.f.SetReadDeadline(t) }

// SetWriteDeadline bounds Send.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.f.SetWriteDeadline(t) }

// Fd runs f with the number of the socket, which stays open meanwhile.
func (c *Conn) Fd(f func(fd int)) error { return c.raw.Control(func(fd uintptr) { f(int(fd)) }) }

// PeerUID returns the user that the other end had when it connected (SO_PEERCRED).
func (c *Conn) PeerUID() (uint32, error) {
	var cred *syscall.Ucred
	var err error
	if e := c.Fd(func(fd int) { cred, err = syscall.GetsockoptUcred(fd, syscall.SOL_SOCKET, syscall.SO_PEERCRED) }); e != nil {
		return 0, e
	}
	if err != nil {
		return 0, fmt.Errorf("peer of the keeper socket: %w", err)
	}
	return cred.Uid, nil
}

// Send sends a message with descriptors, which stay the caller's.
func (c *Conn) Send(seq uint64, m Message, fds ...int) error {
	b, err := Encode(seq, m, len(fds))
	if err != nil {
		return err
	}
	c.sending.Lock()
	defer c.sending.Unlock()
	for {
		n := min(len(fds), MaxFdsPerPacket)
		if err := c.packet(b, fds[:n]); err != nil {
			return fmt.Errorf("send %s: %w", m.name(), err)
		}
		if fds = fds[n:]; len(fds) == 0 {
			return nil
		}
		if b, err = Encode(seq, &more{}, len(fds)); err != nil {
			return err
		}
	}
}

// packet sends one packet; a SEQPACKET socket takes it whole or not at all.
func (c *Conn) packet(b []byte, fds []int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = syscall.UnixRights(fds...)
	}
	var err error
	if e := c.raw.Write(func(fd uintptr) bool {
		for {
			err = syscall.Sendmsg(int(fd), b, oob, nil, syscall.MSG_NOSIGNAL)
			if !errors.Is(err, syscall.EINTR) {
				return !errors.Is(err, syscall.EAGAIN)
			}
		}
	}); e != nil {
		return e
	}
	return err
}

// Recv waits for the next message. io.EOF means that the other end is gone.
// After any other error than a deadline the connection is of no use.
func (c *Conn) Recv() (Packet, error) {
	b, fds, err := c.receive()
	if err != nil {
		return Packet{}, err
	}
	seq, m, want, err := Decode(b)
	if _, stray := m.(*more); err == nil && stray {
		err = fmt.Errorf("%w: continuation of nothing", ErrMalformed)
	}
	for err == nil && len(fds) < want {
		if fds, err = c.continued(fds, seq, want); err != nil {
			break
		}
	}
	if err == nil && len(fds) > want {
		err = fmt.Errorf("%w: %d descriptors instead of %d", ErrMalformed, len(fds), want)
	}
	if err != nil {
		CloseAll(fds)
		return Packet{Seq: seq}, err
	}
	return Packet{Seq: seq, Message: m, Fds: fds}, nil
}

// continued receives one "more" packet of the message seq.
func (c *Conn) continued(fds []int, seq uint64, want int) ([]int, error) {
	if len(fds) == 0 || len(fds)%MaxFdsPerPacket != 0 {
		return fds, fmt.Errorf("%w: %d descriptors instead of %d", ErrMalformed, len(fds), want)
	}
	b, got, err := c.receive()
	if err != nil {
		return fds, err
	}
	fds = append(fds, got...)
	s, m, _, err := Decode(b)
	if err != nil {
		return fds, err
	}
	if _, ok := m.(*more); !ok || s != seq || len(got) == 0 {
		return fds, fmt.Errorf("%w: %s instead of the rest of a message", ErrMalformed, m.name())
	}
	return fds, nil
}

// receive reads one packet and its descriptors.
func (c *Conn) receive() ([]byte, []int, error) {
	var n, on, flags int
	var err error
	if e := c.raw.Read(func(fd uintptr) bool {
		for {
			n, on, flags, _, err = syscall.Recvmsg(int(fd), c.in, c.oob, syscall.MSG_CMSG_CLOEXEC)
			if !errors.Is(err, syscall.EINTR) {
				return !errors.Is(err, syscall.EAGAIN)
			}
		}
	}); e != nil {
		return nil, nil, e
	}
	if err != nil {
		return nil, nil, fmt.Errorf("receive: %w", err)
	}
	fds, err := rights(c.oob[:on])
	switch {
	case err != nil:
	case flags&(syscall.MSG_TRUNC|syscall.MSG_CTRUNC) != 0: // the kernel has closed the rest silently
		err = ErrTruncated
	case n == 0:
		err = io.EOF
	default:
		return c.in[:n], fds, nil
	}
	CloseAll(fds)
	return nil, nil, err
}

// rights returns the descriptors of a control message.
func rights(oob []byte) ([]int, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var fds []int
	for i := range msgs {
		got, err := syscall.ParseUnixRights(&msgs[i])
		if err != nil {
			return fds, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

// CloseAll closes descriptors that were received and are not wanted.
func CloseAll(fds []int) {
	for _, fd := range fds {
		_ = syscall.Close(fd)
	}
}
