package native

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

const defaultDataDir = "/var/lib/cni/networks"

// hostLocal is the plugin of that name: addresses out of ranges, kept as files.
type hostLocal struct {
	dir        string // of this network
	sets       []rangeSet
	routes     []*cnitypes.Route
	resolvConf string
}

// hostLocalConf is the "ipam" object. A single range may be given beside the
// list, as old configurations do.
type hostLocalConf struct {
	rangeConf
	Routes     []*cnitypes.Route `json:"routes"`
	DataDir    string            `json:"dataDir"`
	ResolvConf string            `json:"resolvConf"`
	Ranges     [][]rangeConf     `json:"ranges"`
}

func parseHostLocal(network string, data []byte) (*hostLocal, error) {
	var c hostLocalConf
	known := []string{"type", "subnet", "rangeStart", "rangeEnd", "gateway", "routes", "dataDir", "resolvConf", "ranges"}
	if err := decode(`plugin "host-local"`, data, known, &c); err != nil {
		return nil, err
	}
	if c.DataDir == "" {
		c.DataDir = defaultDataDir
	}
	if c.Subnet.IP != nil {
		c.Ranges = append([][]rangeConf{{c.rangeConf}}, c.Ranges...)
	}
	for _, r := range c.Routes {
		if r == nil {
			return nil, errors.New("route is null")
		}
	}
	sets, err := newRangeSets(c.Ranges)
	if err != nil {
		return nil, err
	}
	return &hostLocal{dir: filepath.Join(c.DataDir, network), sets: sets, routes: c.Routes, resolvConf: c.ResolvConf}, nil
}

// allocate takes one address of each set for the pod. On an error it has given
// back what it took.
func (h *hostLocal) allocate(ctx context.Context, n *Network, id, ifName string) (*types100.Result, error) {
	r := &types100.Result{CNIVersion: types100.ImplementedSpecVersion, Routes: copyRoutes(h.routes)}
	if h.resolvConf != "" {
		dns, err := readResolvConf(h.resolvConf)
		if err != nil {
			return nil, err
		}
		r.DNS = *dns
	}
	s, err := openStore(ctx, &n.pools, h.dir, true)
	if err != nil {
		return nil, err
	}
	defer s.close()
	mine, err := s.ownedBy(id, ifName)
	if err != nil {
		return nil, err
	}
	for i, set := range h.sets {
		for _, addr := range mine {
			if set.contains(addr) {
				return nil, fmt.Errorf("address %s is allocated to %s already", addr, id)
			}
		}
		addr, rng, err := s.reserve(set, i, id, ifName)
		if err != nil {
			for _, ip := range r.IPs {
				back, _ := netip.AddrFromSlice(ip.Address.IP)
				_ = s.release(back, id, ifName)
			}
			return nil, fmt.Errorf("range set %d: %w", i, err)
		}
		r.IPs = append(r.IPs, &types100.IPConfig{
			Address: net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(rng.subnet.Bits(), addr.BitLen())},
			Gateway: rng.gateway.AsSlice(),
		})
	}
	return r, nil
}

// free gives back the pod's addresses. When all of those that ADD returned are
// found under their names, the directory is not searched for others.
func (h *hostLocal) free(ctx context.Context, n *Network, id, ifName string, known []netip.Addr) error {
	s, err := openStore(ctx, &n.pools, h.dir, false)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.close()
	found := 0
	for _, addr := range known {
		if owned, err := s.owner(addr, id, ifName); err != nil {
			return err
		} else if owned {
			found++
			if err := s.release(addr, id, ifName); err != nil {
				return err
			}
		}
	}
	if found > 0 && found == len(known) {
		return nil
	}
	rest, err := s.ownedBy(id, ifName)
	for _, addr := range rest {
		err = errors.Join(err, s.release(addr, id, ifName))
	}
	return err
}

// holds tells whether the pod has any address.
func (h *hostLocal) holds(ctx context.Context, n *Network, id, ifName string) error {
	s, err := openStore(ctx, &n.pools, h.dir, false)
	if err != nil {
		return err
	}
	defer s.close()
	mine, err := s.ownedBy(id, ifName)
	if err == nil && len(mine) == 0 {
		err = fmt.Errorf("no address is allocated to %s", id)
	}
	return err
}

func copyRoutes(in []*cnitypes.Route) []*cnitypes.Route {
	out := slices.Clone(in)
	for i, r := range out {
		c := *r
		out[i] = &c
	}
	return out
}

const resolvConfLimit = 1 << 20 // bytes

func readResolvConf(path string) (*cnitypes.DNS, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dns := &cnitypes.DNS{}
	lines := bufio.NewScanner(io.LimitReader(f, resolvConfLimit))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			dns.Nameservers = append(dns.Nameservers, words[1])
		case "domain":
			dns.Domain = words[1]
		case "search":
			dns.Search = append(dns.Search, words[1:]...)
		case "options":
			dns.Options = append(dns.Options, words[1:]...)
		}
	}
	return dns, lines.Err()
}
