package native

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// configure sets up the pod's interface as the result says. It runs on a
// thread in the pod's namespace.
func (b *bridge) configure(r *types100.Result) error {
	return withRoute(func(h *netlink.Handle) error {
		iface := r.Interfaces[atPod]
		link, err := h.LinkByName(iface.Name)
		if err != nil {
			return fmt.Errorf("link %q: %w", iface.Name, err)
		}
		iface.Mac = link.Attrs().HardwareAddr.String()
		if err := b.tune(iface.Name, r.IPs); err != nil {
			return err
		}
		has6 := false
		for _, ip := range r.IPs {
			has6 = has6 || ip.Address.IP.To4() == nil
			if err := h.AddrAdd(link, &netlink.Addr{IPNet: &ip.Address}); err != nil {
				return fmt.Errorf("add address %s to %q: %w", &ip.Address, iface.Name, err)
			}
		}
		if err := h.LinkSetUp(link); err != nil {
			return fmt.Errorf("link %q up: %w", iface.Name, err)
		}
		if has6 {
			if err := settle(h, link); err != nil {
				return err
			}
		}
		return addRoutes(h, link, r)
	})
}

// tune sets what the interface must have before it is up: no duplicate
// address detection unless asked for (it takes a second, and the addresses are
// ours), gratuitous ARP, IPv6 on if there is an address of it.
func (b *bridge) tune(ifName string, ips []*types100.IPConfig) error {
	dad := "0"
	if b.EnableDAD {
		dad = "1"
		if err := tryIPv6("conf/"+ifName+"/enhanced_dad", dad); err != nil {
			return err
		}
	}
	err := errors.Join(tryIPv6("conf/"+ifName+"/accept_dad", dad), setSysctl("ipv4/conf/"+ifName+"/arp_notify", "1"))
	if err != nil {
		return err
	}
	for _, ip := range ips {
		if ip.Address.IP.To4() != nil {
			continue
		}
		err := errors.Join(
			setSysctl("ipv6/conf/lo/disable_ipv6", "0"),
			setSysctl("ipv6/conf/"+ifName+"/disable_ipv6", "0"),
			setSysctl("ipv6/conf/"+ifName+"/keep_addr_on_down", "1"))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("address %s: this kernel runs without IPv6", ip.Address.IP)
		}
		return err
	}
	return nil
}

const settleLimit = 5 * time.Second

// settle waits until no IPv6 address is tentative: routes that need one as
// their source, and the pod's first connections, would fail.
func settle(h *netlink.Handle, link netlink.Link) error {
	end := time.Now().Add(settleLimit)
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
		addrs, err := addresses(h, link, netlink.FAMILY_V6)
		if err != nil {
			return err
		}
		tentative := false
		for _, a := range addrs {
			if a.Flags&unix.IFA_F_DADFAILED != 0 {
				return fmt.Errorf("address %s of %q is somebody else's too", a.IP, link.Attrs().Name)
			}
			tentative = tentative || a.Flags&unix.IFA_F_TENTATIVE != 0
		}
		if !tentative {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("link %q has tentative addresses after %s", link.Attrs().Name, settleLimit)
		}
		time.Sleep(pause)
	}
}

func addRoutes(h *netlink.Handle, link netlink.Link, r *types100.Result) error {
	for _, to := range r.Routes {
		route := netlink.Route{Dst: &to.Dst, LinkIndex: link.Attrs().Index, Gw: to.GW, Priority: to.Priority}
		if route.Gw == nil {
			route.Gw = gatewayOf(r.IPs, to.Dst.IP.To4() != nil)
		}
		if to.Table != nil {
			route.Table = *to.Table
		}
		if to.Scope != nil {
			route.Scope = netlink.Scope(*to.Scope)
		}
		if err := h.RouteAddEcmp(&route); err != nil {
			return fmt.Errorf("add route to %s via %s: %w", &to.Dst, route.Gw, err)
		}
	}
	return nil
}

// gatewayOf is the gateway of the first address of a family.
func gatewayOf(ips []*types100.IPConfig, is4 bool) net.IP {
	for _, ip := range ips {
		if ip.Gateway != nil && (ip.Gateway.To4() != nil) == is4 {
			return ip.Gateway
		}
	}
	return nil
}
