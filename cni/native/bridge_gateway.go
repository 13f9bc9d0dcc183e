package native

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"sync"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
)

// gateways remembers the addresses that were found in order on a bridge. They
// are looked at each time all the same; knowing what to expect saves a list of
// all addresses of the host.
type gateways struct {
	mu   sync.Mutex // guards seen; never over I/O
	seen map[gateway]bool
}

type gateway struct {
	bridge int // interface index, never used twice
	addr   netip.Prefix
}

const gatewaysMax = 256 // forgotten all when there are more

func (g *gateways) has(k gateway) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seen[k]
}

func (g *gateways) add(k gateway) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.seen == nil || len(g.seen) >= gatewaysMax {
		g.seen = map[gateway]bool{}
	}
	g.seen[k] = true
}

// ensureGateways gives the bridge the pods' gateway addresses and lets the
// host forward.
func (b *bridge) ensureGateways(host *netlink.Handle, n *Network, br *netlink.Bridge, r *types100.Result) error {
	for _, ip := range r.IPs {
		want := &net.IPNet{IP: ip.Gateway, Mask: ip.Address.Mask}
		if err := b.ensureGateway(host, n, br, want); err != nil {
			return err
		}
		forward := "ipv4/ip_forward"
		if want.IP.To4() == nil {
			forward = "ipv6/conf/all/forwarding"
		}
		if err := setSysctl(forward, "1"); err != nil {
			return fmt.Errorf("forwarding: %w", err)
		}
	}
	return nil
}

func (b *bridge) ensureGateway(host *netlink.Handle, n *Network, br *netlink.Bridge, want *net.IPNet) error {
	addr, _ := netip.AddrFromSlice(want.IP)
	ones, _ := want.Mask.Size()
	key := gateway{bridge: br.Index, addr: netip.PrefixFrom(addr.Unmap(), ones)}
	if n.known.has(key) {
		if err := host.AddrAdd(br, &netlink.Addr{IPNet: want}); errors.Is(err, fs.ErrExist) {
			return nil
		}
	}
	family := netlink.FAMILY_V4
	if want.IP.To4() == nil {
		family = netlink.FAMILY_V6
	}
	addrs, err := addresses(host, br, family)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if a.IPNet.String() == want.String() {
			n.known.add(key)
			return nil
		}
		// Of IPv6, a bridge may have addresses of other subnets too.
		if family == netlink.FAMILY_V6 && !a.IPNet.Contains(want.IP) && !want.Contains(a.IP) {
			continue
		}
		if !b.ForceAddress {
			return fmt.Errorf("bridge %q has the address %s, and this network needs %s (see forceAddress)", b.Bridge, a.IPNet, want)
		}
		if err := host.AddrDel(br, &netlink.Addr{IPNet: a.IPNet}); err != nil {
			return fmt.Errorf("remove address %s from %q: %w", a.IPNet, b.Bridge, err)
		}
	}
	if err := host.AddrAdd(br, &netlink.Addr{IPNet: want}); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("add address %s to %q: %w", want, b.Bridge, err)
	}
	// Set, the bridge's hardware address stays; left alone it follows the
	// lowest one of its ports.
	if err := host.LinkSetHardwareAddr(br, br.HardwareAddr); err != nil {
		return fmt.Errorf("hardware address of %q: %w", b.Bridge, err)
	}
	n.known.add(key)
	return nil
}
