package native

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/vishvananda/netlink"
)

// ensureBridge returns the bridge, made if it is not there.
func (b *bridge) ensureBridge(host *netlink.Handle) (*netlink.Bridge, error) {
	link, err := host.LinkByName(b.Bridge)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = b.Bridge, b.MTU
		if err := host.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make bridge %q: %w", b.Bridge, err)
		}
		link, err = host.LinkByName(b.Bridge)
	}
	if err != nil {
		return nil, fmt.Errorf("bridge %q: %w", b.Bridge, err)
	}
	br, ok := link.(*netlink.Bridge)
	if !ok {
		return nil, fmt.Errorf("link %q is a %s and not a bridge", b.Bridge, link.Type())
	}
	if b.PromiscMode && br.Promisc == 0 {
		if err := host.SetPromiscOn(br); err != nil {
			return nil, fmt.Errorf("bridge %q promiscuous: %w", b.Bridge, err)
		}
	}
	// The routes of the host are not for pods to announce (CVE-2020-10749).
	if err := tryIPv6("conf/"+b.Bridge+"/accept_ra", "0"); err != nil {
		return nil, err
	}
	if br.Flags&net.FlagUp == 0 {
		if err := host.LinkSetUp(br); err != nil {
			return nil, fmt.Errorf("bridge %q up: %w", b.Bridge, err)
		}
	}
	return br, nil
}

const nameTries = 10

// connect makes the pair: one end on the bridge and up, the other born in the
// pod's namespace under its name. It returns the host end's name.
func (b *bridge) connect(host *netlink.Handle, br *netlink.Bridge, ns *os.File, ifName string) (string, error) {
	for range nameTries {
		var random [4]byte
		_, _ = rand.Read(random[:])
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = fmt.Sprintf("veth%x", random), b.MTU
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: ifName, PeerNamespace: netlink.NsFd(int(ns.Fd()))}
		err := host.LinkAdd(veth)
		if errors.Is(err, fs.ErrExist) {
			if _, err := host.LinkByName(attrs.Name); err == nil {
				continue // that name is taken
			}
			return "", fmt.Errorf("the pod has an interface %q already", ifName)
		}
		if err != nil {
			return "", fmt.Errorf("make veth: %w", err)
		}
		return attrs.Name, b.plug(host, br, veth)
	}
	return "", fmt.Errorf("make veth: no name found in %d tries: %w", nameTries, fs.ErrExist)
}

// plug makes the host end a port of the bridge. The values that a new port has
// anyway are not set.
func (b *bridge) plug(host *netlink.Handle, br *netlink.Bridge, veth *netlink.Veth) error {
	if err := tryIPv6("conf/"+veth.Name+"/accept_ra", "0"); err != nil {
		return err
	}
	if err := host.LinkSetMasterByIndex(veth, br.Index); err != nil {
		return fmt.Errorf("connect %q to bridge %q: %w", veth.Name, b.Bridge, err)
	}
	if b.HairpinMode {
		if err := host.LinkSetHairpin(veth, true); err != nil {
			return fmt.Errorf("hairpin mode of %q: %w", veth.Name, err)
		}
	}
	if b.PortIsolation {
		if err := host.LinkSetIsolated(veth, true); err != nil {
			return fmt.Errorf("isolation of %q: %w", veth.Name, err)
		}
	}
	if err := host.LinkSetUp(veth); err != nil {
		return fmt.Errorf("link %q up: %w", veth.Name, err)
	}
	return nil
}
