package native

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Netlink messages of nf_tables, as the kernel's
// include/uapi/linux/netfilter/nf_tables.h has them. Numbers are big endian.

// attr encodes one attribute.
func attr(kind uint16, data []byte) []byte {
	size := unix.SizeofRtAttr + len(data)
	b := make([]byte, (size+3)&^3)
	binary.NativeEndian.PutUint16(b, uint16(size))
	binary.NativeEndian.PutUint16(b[2:], kind)
	copy(b[unix.SizeofRtAttr:], data)
	return b
}

func text(kind uint16, s string) []byte { return attr(kind, append([]byte(s), 0)) }

func number(kind uint16, v uint32) []byte {
	return attr(kind, binary.BigEndian.AppendUint32(nil, v))
}

func handle(kind uint16, v uint64) []byte {
	return attr(kind, binary.BigEndian.AppendUint64(nil, v))
}

func nest(kind uint16, parts ...[]byte) []byte {
	return attr(kind|unix.NLA_F_NESTED, join(parts...))
}

func join(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// message is one order of a batch.
type message struct {
	kind   uint16 // NFT_MSG_*
	flags  uint16 // NLM_F_*
	family uint8
	attrs  []byte
}

// encode appends the message with its headers.
func (m message) encode(b []byte, kind, flags uint16, seq uint32, resource uint16) []byte {
	size := unix.SizeofNlMsghdr + sizeofGenmsg + len(m.attrs)
	b = binary.NativeEndian.AppendUint32(b, uint32(size))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0) // from this socket
	b = append(b, m.family, unix.NFNETLINK_V0)
	b = binary.BigEndian.AppendUint16(b, resource)
	return append(b, m.attrs...)
}

const sizeofGenmsg = 4

// eachAttr calls see for every attribute of b, until one is torn.
func eachAttr(b []byte, see func(kind uint16, data []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return
		}
		see(binary.NativeEndian.Uint16(b[2:])&^unix.NLA_F_NESTED, b[unix.SizeofRtAttr:size])
		b = b[min((size+3)&^3, len(b)):]
	}
}

// table, chain and rule name what a message is about.
type table struct {
	family uint8
	name   string
}

func (t table) ensure() message {
	return message{unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, t.family, text(unix.NFTA_TABLE_NAME, t.name)}
}

// chain is one of a table; with a hook it is where packets come in.
type chain struct {
	table
	chain    string
	kind     string // "nat" or "filter"; empty: only jumped to
	hook     uint32
	priority int32
}

func (c chain) ensure() message {
	a := join(text(unix.NFTA_CHAIN_TABLE, c.table.name), text(unix.NFTA_CHAIN_NAME, c.chain))
	if c.kind != "" {
		a = join(a, nest(unix.NFTA_CHAIN_HOOK,
			number(unix.NFTA_HOOK_HOOKNUM, c.hook), number(unix.NFTA_HOOK_PRIORITY, uint32(c.priority))),
			text(unix.NFTA_CHAIN_TYPE, c.kind))
	}
	return message{unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, c.family, a}
}

func (c chain) place() []byte {
	return join(text(unix.NFTA_RULE_TABLE, c.table.name), text(unix.NFTA_RULE_CHAIN, c.chain))
}

func (c chain) flush() message {
	return message{unix.NFT_MSG_DELRULE, 0, c.family, c.place()}
}

func (c chain) remove(rule uint64) message {
	return message{unix.NFT_MSG_DELRULE, 0, c.family, join(c.place(), handle(unix.NFTA_RULE_HANDLE, rule))}
}

// rule appends a rule with a comment, which may be empty.
func (c chain) rule(comment string, exprs ...[]byte) message {
	a := join(c.place(), nest(unix.NFTA_RULE_EXPRESSIONS, exprs...))
	if comment != "" {
		a = join(a, attr(unix.NFTA_RULE_USERDATA, userData(comment)))
	}
	return message{unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE | unix.NLM_F_APPEND, c.family, a}
}

const (
	commentType = 0
	commentMax  = 128 // what the nft program takes
)

// userData is a comment in the form of the nft program: type, length, text
// with a zero byte.
func userData(comment string) []byte {
	comment = comment[:min(len(comment), commentMax)]
	return append(append([]byte{commentType, byte(len(comment) + 1)}, comment...), 0)
}

// commentOf finds the comment in a rule's user data.
func commentOf(b []byte) string {
	for len(b) >= 2 {
		kind, size := b[0], int(b[1])
		if b = b[2:]; size > len(b) {
			return ""
		}
		if kind == commentType && size > 0 {
			return string(b[:size-1])
		}
		b = b[size:]
	}
	return ""
}
