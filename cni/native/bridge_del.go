package native

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// del takes the pod off the bridge: port shut -> rules gone -> addresses free.
// In this order: an address must lead nowhere when the next pod gets it.
func (b *bridge) del(ctx context.Context, c *call) error {
	if err := c.unplug(); err != nil {
		return err
	}
	if b.IPMasq {
		if err := c.net.unmasquerade(b.network, c.pod.ID, c.pod.IfName); err != nil {
			return fmt.Errorf("masquerade: %w", err)
		}
	}
	return b.ipam.free(ctx, c.net, c.pod.ID, c.pod.IfName, c.addrs())
}

func (c *call) addrs() (out []netip.Addr) {
	if c.result == nil {
		return nil
	}
	for _, ip := range c.result.IPs {
		if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// unplug shuts the bridge's port of the pod and hands the device to the reaper.
func (c *call) unplug() error {
	return withRoute(func(host *netlink.Handle) error {
		index, err := c.hostEnd(host)
		if err != nil || index == 0 {
			return err
		}
		if err := setPortState(index, portDisabled); err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ENETDOWN) {
			// Not a port: somebody took it off the bridge. It goes all the same.
			if err := deleteLink(host, index); err != nil {
				return fmt.Errorf("link %d: %w", index, err)
			}
			return nil
		}
		c.net.reaper.add(index)
		return nil
	})
}

// hostEnd is the index of the veth on the host's side, 0 when there is none.
// The result names it; without one, the pod's interface knows its peer.
func (c *call) hostEnd(host *netlink.Handle) (int, error) {
	if c.result != nil && len(c.result.Interfaces) > atPod {
		link, err := host.LinkByName(c.result.Interfaces[atHost].Name)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		if _, ok := link.(*netlink.Veth); !ok || link.Attrs().HardwareAddr.String() != c.result.Interfaces[atHost].Mac {
			return 0, nil // the name is another's now
		}
		return link.Attrs().Index, nil
	}
	if c.pod.NetNS == "" {
		return 0, nil // and the pair went with the namespace
	}
	return c.peer(host)
}

// peer is the host's end of the pod's interface. What the pod's side says is
// believed only as far as the host's side says the same: a pod may have made
// an interface of that name itself, with an index of another pod's.
func (c *call) peer(host *netlink.Handle) (int, error) {
	ns, err := openNamespace(c.pod.NetNS)
	if err != nil {
		return 0, err
	}
	defer ns.Close()
	var inside netlink.Link
	err = visit(c.net.home, ns, func() error {
		return withRoute(func(h *netlink.Handle) error {
			var err error
			inside, err = h.LinkByName(c.pod.IfName)
			return err
		})
	})
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	id, err := host.GetNetNsIdByFd(int(ns.Fd()))
	if err != nil {
		return 0, fmt.Errorf("id of network namespace: %w", err)
	}
	link, err := host.LinkByIndex(inside.Attrs().ParentIndex)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if l := link.Attrs(); link.Type() != "veth" || l.NetNsID != id || l.ParentIndex != inside.Attrs().Index {
		return 0, nil
	}
	return link.Attrs().Index, nil
}

const portDisabled = 0

// setPortState sets the state of a bridge's port. Shut, no frame goes in or
// out, at once; taking the device down or away would wait for RCU.
func setPortState(index int, state byte) error {
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(index)
	req.AddData(msg)
	port := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	port.AddRtAttr(nl.IFLA_BRPORT_STATE, []byte{state})
	req.AddData(port)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// deleteLink deletes a device by its index; one that is gone is no error.
func deleteLink(host *netlink.Handle, index int) error {
	err := host.LinkDel(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}})
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// check looks for what add made: the pair on the bridge, the pod's addresses
// and routes, the address files, the rules.
func (b *bridge) check(ctx context.Context, c *call) error {
	if err := b.ipam.holds(ctx, c.net, c.pod.ID, c.pod.IfName); err != nil {
		return err
	}
	if len(c.result.Interfaces) <= atPod {
		return fmt.Errorf("result has %d interfaces", len(c.result.Interfaces))
	}
	err := withRoute(func(host *netlink.Handle) error {
		br, err := host.LinkByName(b.Bridge)
		if err != nil {
			return fmt.Errorf("bridge %q: %w", b.Bridge, err)
		}
		veth, err := host.LinkByName(c.result.Interfaces[atHost].Name)
		if err != nil {
			return fmt.Errorf("link %q: %w", c.result.Interfaces[atHost].Name, err)
		}
		if veth.Attrs().MasterIndex != br.Attrs().Index {
			return fmt.Errorf("link %q is not on bridge %q", veth.Attrs().Name, b.Bridge)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := visitPath(c.net.home, c.pod.NetNS, func() error { return checkPod(c.result) }); err != nil {
		return err
	}
	if !b.IPMasq {
		return nil
	}
	found, err := c.net.masqueraded(b.network, c.pod.ID, c.pod.IfName)
	if err == nil && found < len(c.result.IPs) {
		err = fmt.Errorf("%d masquerade rules for %d addresses", found, len(c.result.IPs))
	}
	return err
}

// checkPod runs on a thread in the pod's namespace.
func checkPod(r *types100.Result) error {
	return withRoute(func(h *netlink.Handle) error {
		iface := r.Interfaces[atPod]
		link, err := h.LinkByName(iface.Name)
		if err != nil {
			return fmt.Errorf("link %q: %w", iface.Name, err)
		}
		if mac := link.Attrs().HardwareAddr.String(); mac != iface.Mac {
			return fmt.Errorf("link %q has the hardware address %s, not %s", iface.Name, mac, iface.Mac)
		}
		addrs, err := addresses(h, link, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		has := map[string]bool{}
		for _, a := range addrs {
			has[a.IPNet.String()] = true
		}
		for _, ip := range r.IPs {
			if !has[ip.Address.String()] {
				return fmt.Errorf("link %q lacks the address %s", iface.Name, &ip.Address)
			}
		}
		for _, to := range r.Routes {
			found, err := h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Dst: &to.Dst, LinkIndex: link.Attrs().Index}, netlink.RT_FILTER_DST|netlink.RT_FILTER_OIF)
			if err != nil {
				return fmt.Errorf("routes: %w", err)
			}
			if len(found) == 0 {
				return fmt.Errorf("no route to %s", &to.Dst)
			}
		}
		return nil
	})
}
