package native

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// ruleSockets keeps sockets to nf_tables open. Closing one waits for an RCU
// grace period, some 15 ms, when any rule was deleted shortly before.
type ruleSockets struct {
	mu   sync.Mutex // guards idle; never over I/O
	idle []*rules
}

const ruleSocketsMax = 8 // that stay open unused

// do lends a socket. It must be called on a thread of the host's namespace.
func (s *ruleSockets) do(use func(*rules) error) error {
	r, err := s.take()
	if err != nil {
		return err
	}
	err = use(r)
	s.give(r)
	return err
}

func (s *ruleSockets) take() (*rules, error) {
	s.mu.Lock()
	if last := len(s.idle) - 1; last >= 0 {
		r := s.idle[last]
		s.idle = s.idle[:last]
		s.mu.Unlock()
		return r, nil
	}
	s.mu.Unlock()
	return openRules()
}

func (s *ruleSockets) give(r *rules) {
	s.mu.Lock()
	keep := !r.broken && len(s.idle) < ruleSocketsMax
	if keep {
		s.idle = append(s.idle, r)
	}
	s.mu.Unlock()
	if !keep {
		r.close()
	}
}

func (s *ruleSockets) close() {
	s.mu.Lock()
	idle := s.idle
	s.idle = nil
	s.mu.Unlock()
	for _, r := range idle {
		r.close()
	}
}

func openRules() (*rules, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("nf_tables: %w", os.NewSyscallError("socket", err))
	}
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: rulesTimeout})
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("nf_tables: %w", os.NewSyscallError("setsockopt", err))
	}
	return &rules{fd: fd, buf: make([]byte, recvSize)}, nil
}

func (r *rules) close() { _ = unix.Close(r.fd) }

// HasRules returns an error when the kernel has no nf_tables.
func (n *Network) HasRules() error {
	return n.rules.do(func(r *rules) error {
		r.seq++
		get := message{family: unix.AF_UNSPEC}
		b := get.encode(nil, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, unix.NLM_F_ACK, r.seq, 0)
		if err := r.send(b); err != nil {
			return err
		}
		return r.receive(func(uint16, []byte) {})
	})
}
