package native

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The expressions that rules are made of, in the order and form in which the
// nft program writes them, so that it lists them as it would its own.

func expression(name string, attrs ...[]byte) []byte {
	return nest(unix.NFTA_LIST_ELEM, text(unix.NFTA_EXPR_NAME, name), nest(unix.NFTA_EXPR_DATA, attrs...))
}

func value(kind uint16, data []byte) []byte {
	return nest(kind, attr(unix.NFTA_DATA_VALUE, data))
}

// meta loads a property of the packet.
func meta(key uint32) []byte {
	return expression("meta", number(unix.NFTA_META_KEY, key), number(unix.NFTA_META_DREG, unix.NFT_REG_1))
}

// is and not compare what was loaded last.
func is(data []byte) []byte  { return compare(unix.NFT_CMP_EQ, data) }
func not(data []byte) []byte { return compare(unix.NFT_CMP_NEQ, data) }

func compare(op uint32, data []byte) []byte {
	return expression("cmp", number(unix.NFTA_CMP_SREG, unix.NFT_REG_1), number(unix.NFTA_CMP_OP, op), value(unix.NFTA_CMP_DATA, data))
}

// load reads bytes of a header.
func load(base, offset, size uint32) []byte {
	return expression("payload",
		number(unix.NFTA_PAYLOAD_DREG, unix.NFT_REG_1), number(unix.NFTA_PAYLOAD_BASE, base),
		number(unix.NFTA_PAYLOAD_OFFSET, offset), number(unix.NFTA_PAYLOAD_LEN, size))
}

// masked keeps the first bits of what was loaded.
func masked(size uint32, first int) []byte {
	mask := make([]byte, size)
	for i := range first {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return bits(mask, make([]byte, size))
}

// bits computes (loaded AND mask) XOR flip.
func bits(mask, flip []byte) []byte {
	return expression("bitwise",
		number(unix.NFTA_BITWISE_SREG, unix.NFT_REG_1), number(unix.NFTA_BITWISE_DREG, unix.NFT_REG_1),
		number(unix.NFTA_BITWISE_LEN, uint32(len(mask))),
		value(unix.NFTA_BITWISE_MASK, mask), value(unix.NFTA_BITWISE_XOR, flip))
}

// Where the addresses are in the header of a family.
const (
	source      = 0
	destination = 1
)

// address matches a network of the packet's source or destination; with how
// not, everything outside it.
func address(side uint32, p netip.Prefix, how func([]byte) []byte) []byte {
	offset, size := uint32(12), uint32(4)
	if p.Addr().Is6() {
		offset, size = 8, 16
	}
	offset += side * size
	data := p.Masked().Addr().AsSlice()
	if p.Bits()%8 == 0 { // whole bytes need no mask
		size = uint32(p.Bits() / 8)
		return join(load(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, size), how(data[:size]))
	}
	return join(load(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, size), masked(size, p.Bits()), how(data))
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// family matches the address family, which a table of the inet family needs
// before it may look at an address.
func family(a netip.Addr) []byte {
	f := byte(unix.NFPROTO_IPV4)
	if a.Is6() {
		f = unix.NFPROTO_IPV6
	}
	return join(meta(unix.NFT_META_NFPROTO), is([]byte{f}))
}

// port matches protocol and destination port.
func port(protocol byte, p uint16) []byte {
	const atDestination = 2
	return join(meta(unix.NFT_META_L4PROTO), is([]byte{protocol}),
		load(unix.NFT_PAYLOAD_TRANSPORT_HEADER, atDestination, 2), is(binary.BigEndian.AppendUint16(nil, p)))
}

// from matches the interface that the packet came in by.
func from(ifName string) []byte {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, ifName)
	return join(meta(unix.NFT_META_IIFNAME), is(name))
}

// setMark sets a bit of the packet's mark, hasMark matches it.
func setMark(bit uint32) []byte {
	keep, set := binary.NativeEndian.AppendUint32(nil, ^bit), binary.NativeEndian.AppendUint32(nil, bit)
	return join(meta(unix.NFT_META_MARK), bits(keep, set),
		expression("meta", number(unix.NFTA_META_KEY, unix.NFT_META_MARK), number(unix.NFTA_META_SREG, unix.NFT_REG_1)))
}

func hasMark(bit uint32) []byte {
	b := binary.NativeEndian.AppendUint32(nil, bit)
	return join(meta(unix.NFT_META_MARK), bits(b, make([]byte, 4)), is(b))
}

// toThisHost matches packets to an address of the host.
func toThisHost() []byte {
	const dreg, result, flags, byAddrType, daddr = 1, 2, 3, 3, 2 // NFTA_FIB_*, NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_DADDR
	return join(
		expression("fib", number(result, byAddrType), number(flags, daddr), number(dreg, unix.NFT_REG_1)),
		is(binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)))
}

// verdict ends a rule; to is the chain of a jump or goto.
func verdict(code int32, to string) []byte {
	v := number(unix.NFTA_VERDICT_CODE, uint32(code))
	if to != "" {
		v = join(v, text(unix.NFTA_VERDICT_CHAIN, to))
	}
	return expression("immediate", number(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT),
		nest(unix.NFTA_IMMEDIATE_DATA, nest(unix.NFTA_DATA_VERDICT, v)))
}

func masqueradeIt() []byte { return expression("masq") }

// redirect gives the packet another destination.
func redirect(to netip.AddrPort) []byte {
	f := uint32(unix.NFPROTO_IPV4)
	if to.Addr().Is6() {
		f = unix.NFPROTO_IPV6
	}
	set := func(reg uint32, data []byte) []byte {
		return expression("immediate", number(unix.NFTA_IMMEDIATE_DREG, reg), value(unix.NFTA_IMMEDIATE_DATA, data))
	}
	return join(
		set(unix.NFT_REG_1, to.Addr().AsSlice()),
		set(unix.NFT_REG_2, binary.BigEndian.AppendUint16(nil, to.Port())),
		expression("nat",
			number(unix.NFTA_NAT_TYPE, unix.NFT_NAT_DNAT), number(unix.NFTA_NAT_FAMILY, f),
			number(unix.NFTA_NAT_REG_ADDR_MIN, unix.NFT_REG_1), number(unix.NFTA_NAT_REG_PROTO_MIN, unix.NFT_REG_2)))
}
