package native

import (
	"context"
	"errors"
	"fmt"
	"net"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
)

// loopback is the plugin of that name: lo is up.
type loopback struct{}

func parseLoopback(data []byte) (*loopback, error) {
	return &loopback{}, decode(`plugin "loopback"`, data, everyPlugin, &struct{}{})
}

func (*loopback) name() string { return "loopback" }

func (*loopback) add(_ context.Context, c *call) error {
	var addrs []netlink.Addr
	err := visitPath(c.net.home, c.pod.NetNS, func() error {
		return withRoute(func(h *netlink.Handle) error {
			lo, err := h.LinkByName("lo")
			if err != nil {
				return err
			}
			if err := h.LinkSetUp(lo); err != nil {
				return fmt.Errorf("lo up: %w", err)
			}
			addrs, err = addresses(h, lo, netlink.FAMILY_ALL)
			return err
		})
	})
	if err != nil || c.result != nil {
		return err
	}
	c.result = &types100.Result{
		CNIVersion: types100.ImplementedSpecVersion,
		Interfaces: []*types100.Interface{{Name: "lo", Mac: "00:00:00:00:00:00", Sandbox: c.pod.NetNS}},
	}
	seen := map[bool]bool{} // the first of each family
	for _, a := range addrs {
		is4 := a.IP.To4() != nil
		if !a.IP.IsLoopback() {
			return fmt.Errorf("lo has the address %s", a.IP)
		}
		if !seen[is4] {
			seen[is4] = true
			c.result.IPs = append(c.result.IPs, &types100.IPConfig{Interface: types100.Int(0), Address: *a.IPNet})
		}
	}
	return nil
}

// del leaves lo as it is: it ends with the namespace, and nothing of the host
// depends on it.
func (*loopback) del(context.Context, *call) error { return nil }

func (*loopback) check(_ context.Context, c *call) error {
	return visitPath(c.net.home, c.pod.NetNS, func() error {
		return withRoute(func(h *netlink.Handle) error {
			lo, err := h.LinkByName("lo")
			if err == nil && lo.Attrs().Flags&net.FlagUp == 0 {
				err = errors.New("lo is down")
			}
			return err
		})
	})
}
