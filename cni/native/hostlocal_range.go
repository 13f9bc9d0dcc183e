package native

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	cnitypes "github.com/containernetworking/cni/pkg/types"
)

// rangeConf is a range as it is written. All but the subnet may be left out.
type rangeConf struct {
	RangeStart net.IP         `json:"rangeStart,omitempty"`
	RangeEnd   net.IP         `json:"rangeEnd,omitempty"`
	Subnet     cnitypes.IPNet `json:"subnet"`
	Gateway    net.IP         `json:"gateway,omitempty"`
}

// addrRange is a part of a subnet, first and last included.
type addrRange struct {
	subnet      netip.Prefix
	first, last netip.Addr
	gateway     netip.Addr
}

// rangeSet is a pool: a pod gets one address of it.
type rangeSet []addrRange

func newRangeSets(conf [][]rangeConf) ([]rangeSet, error) {
	if len(conf) == 0 {
		return nil, errors.New("no address ranges given")
	}
	var sets []rangeSet
	for i, c := range conf {
		set, err := newRangeSet(c)
		if err != nil {
			return nil, fmt.Errorf("range set %d: %w", i, err)
		}
		for j, other := range sets {
			for _, r := range set {
				if with, ok := other.overlapping(r); ok {
					return nil, fmt.Errorf("range set %d overlaps with %d: %s and %s", j, i, with, r)
				}
			}
		}
		sets = append(sets, set)
	}
	return sets, nil
}

func newRangeSet(conf []rangeConf) (rangeSet, error) {
	if len(conf) == 0 {
		return nil, errors.New("empty")
	}
	var set rangeSet
	for _, c := range conf {
		r, err := newRange(c)
		if err != nil {
			return nil, err
		}
		if len(set) > 0 && set[0].first.Is4() != r.first.Is4() {
			return nil, errors.New("mixed address families")
		}
		if with, ok := set.overlapping(r); ok {
			return nil, fmt.Errorf("ranges %s and %s overlap", with, r)
		}
		set = append(set, r)
	}
	return set, nil
}

func newRange(c rangeConf) (addrRange, error) {
	subnet, err := prefix(c.Subnet)
	if err != nil {
		return addrRange{}, err
	}
	r := addrRange{subnet: subnet, first: subnet.Addr().Next(), last: lastOf(subnet), gateway: subnet.Addr().Next()}
	for _, f := range []struct {
		what string
		from net.IP
		to   *netip.Addr
	}{{"gateway", c.Gateway, &r.gateway}, {"rangeStart", c.RangeStart, &r.first}, {"rangeEnd", c.RangeEnd, &r.last}} {
		if f.from == nil {
			continue
		}
		addr, ok := netip.AddrFromSlice(f.from)
		if *f.to = addr.Unmap(); !ok {
			return r, fmt.Errorf("%s %q is not an address", f.what, f.from)
		}
		if f.what != "gateway" && !subnet.Contains(*f.to) {
			return r, fmt.Errorf("%s %s is not in %s", f.what, *f.to, subnet)
		}
	}
	if r.first.Compare(r.last) > 0 {
		return r, fmt.Errorf("rangeStart %s is after rangeEnd %s", r.first, r.last)
	}
	return r, nil
}

// prefix checks that a subnet is one, with room for more than two addresses.
func prefix(n cnitypes.IPNet) (netip.Prefix, error) {
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if addr = addr.Unmap(); !ok || bits != addr.BitLen() {
		return netip.Prefix{}, errors.New("range without a subnet")
	}
	p := netip.PrefixFrom(addr, ones)
	if ones > bits-2 {
		return p, fmt.Errorf("subnet %s is too small to allocate from", p)
	}
	if p.Masked() != p {
		return p, fmt.Errorf("subnet %s has host bits set; the network is %s", p, p.Masked())
	}
	return p, nil
}

// lastOf is the last address of a subnet that a pod may have: not the
// broadcast address of IPv4.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < p.Addr().BitLen(); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	if last.Is4() {
		return last.Prev()
	}
	return last
}

func (r addrRange) contains(a netip.Addr) bool {
	return r.subnet.Contains(a) && r.first.Compare(a) <= 0 && a.Compare(r.last) <= 0
}

func (r addrRange) String() string { return r.first.String() + "-" + r.last.String() }

func (s rangeSet) contains(a netip.Addr) bool {
	for _, r := range s {
		if r.contains(a) {
			return true
		}
	}
	return false
}

func (s rangeSet) overlapping(r addrRange) (addrRange, bool) {
	for _, o := range s {
		if o.contains(r.first) || o.contains(r.last) || r.contains(o.first) || r.contains(o.last) {
			return o, true
		}
	}
	return addrRange{}, false
}

func (s rangeSet) String() string {
	texts := make([]string, len(s))
	for i, r := range s {
		texts[i] = r.String()
	}
	return strings.Join(texts, ",")
}

// walk calls try for the set's addresses until it returns true: from the one
// after last round to it, gateways left out. last counts only when it is in
// the set.
func (s rangeSet) walk(last netip.Addr, try func(netip.Addr, addrRange) (bool, error)) (bool, error) {
	at, addr := 0, s[0].first
	for i, r := range s {
		if r.contains(last) {
			at, addr = s.next(i, last)
			break
		}
	}
	for start := addr; ; {
		if addr != s[at].gateway {
			if done, err := try(addr, s[at]); done || err != nil {
				return done, err
			}
		}
		if at, addr = s.next(at, addr); addr == start {
			return false, nil
		}
	}
}

func (s rangeSet) next(at int, addr netip.Addr) (int, netip.Addr) {
	if addr == s[at].last {
		at = (at + 1) % len(s)
		return at, s[at].first
	}
	return at, addr.Next()
}
