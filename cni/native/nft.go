package native

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	rulesTimeout = 10      // seconds for one answer of the kernel
	recvSize     = 1 << 15 // the kernel's answers are no longer
	batchTries   = 20      // the kernel asks for another try after it loaded a module
)

// rules is a socket to nf_tables.
type rules struct {
	fd     int
	seq    uint32
	buf    []byte
	broken bool // an answer is missing or half read
}

// apply runs the messages as one transaction: all or none.
func (r *rules) apply(ms ...message) error {
	if len(ms) == 0 {
		return nil
	}
	for try := 1; ; try++ {
		err := r.batch(ms)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) || try == batchTries {
			return err
		}
	}
}

func (r *rules) batch(ms []message) error {
	r.seq++
	edge := message{family: unix.AF_UNSPEC}
	b := edge.encode(nil, unix.NFNL_MSG_BATCH_BEGIN, 0, r.seq, unix.NFNL_SUBSYS_NFTABLES)
	for i, m := range ms {
		flags := m.flags
		if i == len(ms)-1 {
			flags |= unix.NLM_F_ACK
		}
		// One number for all: the only answers are errors and the last one's.
		b = m.encode(b, unix.NFNL_SUBSYS_NFTABLES<<8|m.kind, flags, r.seq, 0)
	}
	b = edge.encode(b, unix.NFNL_MSG_BATCH_END, 0, r.seq, unix.NFNL_SUBSYS_NFTABLES)
	if err := r.send(b); err != nil {
		return err
	}
	return r.receive(func(uint16, []byte) {})
}

// found is a rule as it is listed.
type found struct {
	handle  uint64
	comment string
}

// list returns the rules of a chain; none when there is no such chain.
func (r *rules) list(c chain) ([]found, error) {
	for try := 1; ; try++ {
		var out []found
		r.seq++
		get := message{family: c.family, attrs: c.place()}
		b := get.encode(nil, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, r.seq, 0)
		if err := r.send(b); err != nil {
			return nil, err
		}
		err := r.receive(func(kind uint16, data []byte) {
			if kind == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWRULE {
				out = append(out, newFound(data))
			}
		})
		if errors.Is(err, unix.ENOENT) {
			return nil, nil
		}
		if !errors.Is(err, unix.EINTR) || try == dumpTries {
			return out, err
		}
	}
}

func newFound(data []byte) (f found) {
	eachAttr(data, func(kind uint16, data []byte) {
		switch {
		case kind == unix.NFTA_RULE_HANDLE && len(data) == 8:
			f.handle = binary.BigEndian.Uint64(data)
		case kind == unix.NFTA_RULE_USERDATA:
			f.comment = commentOf(data)
		}
	})
	return f
}

// begins and equals choose rules by their comment.
func begins(with string) func(string) bool {
	return func(comment string) bool { return strings.HasPrefix(comment, with) }
}

func equals(to string) func(string) bool {
	return func(comment string) bool { return comment == to }
}

// removeBy deletes the rules of the chains whose comment is chosen.
func (r *rules) removeBy(chosen func(comment string) bool, chains ...chain) error {
	for range batchTries {
		var ms []message
		for _, c := range chains {
			all, err := r.list(c)
			if err != nil {
				return err
			}
			for _, f := range all {
				if chosen(f.comment) {
					ms = append(ms, c.remove(f.handle))
				}
			}
		}
		if err := r.apply(ms...); !errors.Is(err, unix.ENOENT) { // somebody else was faster: look again
			return err
		}
	}
	return fmt.Errorf("nf_tables: rules change faster than they can be deleted: %w", unix.EBUSY)
}

func (r *rules) count(chosen func(comment string) bool, c chain) (n int, err error) {
	all, err := r.list(c)
	for _, f := range all {
		if chosen(f.comment) {
			n++
		}
	}
	return n, err
}

func (r *rules) send(b []byte) error {
	err := unix.Sendto(r.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err != nil {
		r.broken = true
		return fmt.Errorf("nf_tables: %w", os.NewSyscallError("sendto", err))
	}
	return nil
}

// receive reads answers to the last request until the final one and returns
// the first error among them. A list that changed meanwhile is EINTR.
func (r *rules) receive(see func(kind uint16, data []byte)) error {
	var first error
	for {
		n, _, err := unix.Recvfrom(r.fd, r.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			r.broken = true
			return fmt.Errorf("nf_tables: %w", os.NewSyscallError("recvfrom", err))
		}
		for b := r.buf[:n]; len(b) >= unix.SizeofNlMsghdr; {
			size := int(binary.NativeEndian.Uint32(b))
			if size < unix.SizeofNlMsghdr || size > len(b) {
				r.broken = true
				return fmt.Errorf("nf_tables: torn answer: %w", unix.EBADMSG)
			}
			m := b[:size]
			b = b[min((size+3)&^3, len(b)):]
			if binary.NativeEndian.Uint32(m[8:]) != r.seq {
				continue
			}
			last, err := r.answer(m, see)
			if first == nil {
				first = err
			}
			if last {
				return first
			}
		}
	}
}

// answer takes one message; last is the final one of a request.
func (r *rules) answer(m []byte, see func(uint16, []byte)) (last bool, err error) {
	kind, flags := binary.NativeEndian.Uint16(m[4:]), binary.NativeEndian.Uint16(m[6:])
	if flags&unix.NLM_F_DUMP_INTR != 0 {
		err = unix.EINTR
	}
	data := m[unix.SizeofNlMsghdr:]
	switch kind {
	case unix.NLMSG_DONE:
		return true, err
	case unix.NLMSG_ERROR:
		if len(data) < 4+unix.SizeofNlMsghdr {
			return true, unix.EBADMSG
		}
		code := -int32(binary.NativeEndian.Uint32(data))
		about := binary.NativeEndian.Uint16(data[4+6:]) // flags of the request it is about
		if code != 0 {
			err = unix.Errno(code)
		}
		// Of a batch only the last order asks for an answer; an error of the
		// batch as a whole is about its begin, and nothing follows.
		begin := binary.NativeEndian.Uint16(data[4+4:]) == unix.NFNL_MSG_BATCH_BEGIN
		dump := about&unix.NLM_F_DUMP == unix.NLM_F_DUMP
		return about&unix.NLM_F_ACK != 0 || begin || dump, err
	}
	if len(data) >= sizeofGenmsg {
		see(kind, data[sizeofGenmsg:])
	}
	return false, err
}
