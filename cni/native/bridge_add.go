package native

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
)

// The places of the interfaces in a result.
const (
	atBridge = iota
	atHost
	atPod
)

// add gives the pod an interface on the bridge: bridge -> addresses -> veth ->
// the pod's side -> gateway -> masquerade. Whatever it gets to, del undoes.
func (b *bridge) add(ctx context.Context, c *call) error {
	ns, err := openNamespace(c.pod.NetNS)
	if err != nil {
		return err
	}
	defer ns.Close()
	return withRoute(func(host *netlink.Handle) error {
		br, err := b.ensureBridge(host)
		if err != nil {
			return err
		}
		r, err := b.ipam.allocate(ctx, c.net, c.pod.ID, c.pod.IfName)
		if err != nil {
			return err
		}
		b.complete(r)
		veth, err := b.connect(host, br, ns, c.pod.IfName)
		if err != nil {
			return err
		}
		r.Interfaces = []*types100.Interface{
			{Name: b.Bridge},
			{Name: veth},
			{Name: c.pod.IfName, Sandbox: c.pod.NetNS},
		}
		if err := visit(c.net.home, ns, func() error { return b.configure(r) }); err != nil {
			return err
		}
		if b.IsGateway {
			if err := b.ensureGateways(host, c.net, br, r); err != nil {
				return err
			}
		}
		if b.IPMasq {
			if err := c.net.masquerade(b.network, c.pod.ID, c.pod.IfName, r.IPs); err != nil {
				return fmt.Errorf("masquerade: %w", err)
			}
		}
		c.result = r
		return b.finish(ctx, host, r)
	})
}

// complete adds what follows from the addresses: their interface, gateways,
// default routes, the configuration's own DNS.
func (b *bridge) complete(r *types100.Result) {
	hasDefault := map[bool]bool{}
	for _, route := range r.Routes {
		if ones, _ := route.Dst.Mask.Size(); ones == 0 && route.GW != nil {
			hasDefault[route.Dst.IP.To4() != nil] = true
		}
	}
	for _, ip := range r.IPs {
		ip.Interface = types100.Int(atPod)
		is4 := ip.Address.IP.To4() != nil
		if b.IsDefaultGateway && !hasDefault[is4] {
			hasDefault[is4] = true
			r.Routes = append(r.Routes, &cnitypes.Route{Dst: everywhere(is4), GW: ip.Gateway})
		}
	}
	if !b.DNS.IsEmpty() {
		r.DNS = b.DNS
	}
}

func everywhere(is4 bool) net.IPNet {
	if is4 {
		return net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	}
	return net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
}

// portWait bounds how long the bridge's port may take to come up. It depends
// on a work queue of the kernel, and traffic before that is lost.
const portWait = 5 * time.Second

// finish waits for the port and reads the addresses of the links, which may
// have changed since they were made.
func (b *bridge) finish(ctx context.Context, host *netlink.Handle, r *types100.Result) error {
	end := time.Now().Add(portWait)
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 50*time.Millisecond) {
		veth, err := host.LinkByName(r.Interfaces[atHost].Name)
		if err != nil {
			return fmt.Errorf("link %q: %w", r.Interfaces[atHost].Name, err)
		}
		r.Interfaces[atHost].Mac = veth.Attrs().HardwareAddr.String()
		if veth.Attrs().OperState == netlink.OperUp {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("bridge port %q is %s: %w", veth.Attrs().Name, veth.Attrs().OperState, os.ErrDeadlineExceeded)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	br, err := host.LinkByName(b.Bridge)
	if err != nil {
		return fmt.Errorf("link %q: %w", b.Bridge, err)
	}
	r.Interfaces[atBridge].Mac = br.Attrs().HardwareAddr.String()
	return nil
}
