package wire

import (
	"encoding/json"
	"fmt"
)

const (
	// MaxPacket bounds the bytes of a packet. Programs and strings travel in
	// memfds, so messages are small.
	MaxPacket = 64 << 10
	// MaxFdsPerPacket is the kernel's SCM_MAX_FD.
	MaxFdsPerPacket = 253
	// MaxFds bounds the descriptors of one message.
	MaxFds = 4096
)

// header is the outer form of every packet.
type header struct {
	Type string          `json:"type"`
	Seq  uint64          `json:"seq,omitempty"`
	Fds  int             `json:"fds,omitempty"` // of the whole message, over all its packets
	Body json.RawMessage `json:"body,omitempty"`
}

// Encode returns the bytes of a message that carries the given number of descriptors.
func Encode(seq uint64, m Message, fds int) ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.name(), err)
	}
	b, err := json.Marshal(header{Type: m.name(), Seq: seq, Fds: fds, Body: body})
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.name(), err)
	}
	if len(b) > MaxPacket || fds > MaxFds {
		return nil, fmt.Errorf("encode %s: %w", m.name(), ErrTooLarge)
	}
	return b, nil
}

// Decode is the reverse of Encode. Any bytes are allowed: what is no message is ErrMalformed.
func Decode(b []byte) (seq uint64, m Message, fds int, err error) {
	var h header
	if err := json.Unmarshal(b, &h); err != nil {
		return 0, nil, 0, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	m = empty(h.Type)
	if m == nil {
		return h.Seq, nil, 0, fmt.Errorf("%w: type %q", ErrMalformed, h.Type)
	}
	if h.Fds < 0 || h.Fds > MaxFds {
		return h.Seq, nil, 0, fmt.Errorf("%w: %d descriptors", ErrMalformed, h.Fds)
	}
	if len(h.Body) > 0 {
		if err := json.Unmarshal(h.Body, m); err != nil {
			return h.Seq, nil, 0, fmt.Errorf("%w: %s: %w", ErrMalformed, h.Type, err)
		}
	}
	return h.Seq, m, h.Fds, nil
}
