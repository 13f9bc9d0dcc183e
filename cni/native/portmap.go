package native

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// portmap is the plugin of that name: ports of the host lead to the pod.
type portmap struct {
	portmapConf
	masq hostMasq
}

// defaultMarkBit is the reference's; 14 and 15 are Kubernetes'.
const defaultMarkBit = 13

type portmapConf struct {
	Capabilities map[string]bool `json:"capabilities"` // the ports are told only when asked for

	Backend      *string  `json:"backend"`
	SNAT         *bool    `json:"snat"`
	ConditionsV4 []string `json:"conditionsV4"` // not done here: rule text of the nft program
	ConditionsV6 []string `json:"conditionsV6"`
	MarkMasqBit  *int     `json:"markMasqBit"` // the last two mean something to iptables only
	MasqAll      bool     `json:"masqAll"`
}

func parsePortmap(data []byte) (*portmap, error) {
	p := &portmap{}
	known := slices.Concat(everyPlugin, []string{"backend", "snat", "conditionsV4", "conditionsV6", "markMasqBit", "masqAll"})
	if err := decode(`plugin "portmap"`, data, known, &p.portmapConf); err != nil {
		return nil, err
	}
	named := p.Backend != nil && *p.Backend == "nftables"
	for _, f := range []struct {
		what string
		asks bool
	}{
		{"backend other than nftables", p.Backend != nil && !named},
		{"conditions", len(p.ConditionsV4)+len(p.ConditionsV6) > 0},
	} {
		if f.asks {
			return nil, fmt.Errorf(`%w: plugin "portmap": %s`, ErrUnsupported, f.what)
		}
	}
	bit := defaultMarkBit
	if p.MarkMasqBit != nil {
		bit = *p.MarkMasqBit
	}
	if bit < 0 || bit > 31 {
		return nil, fmt.Errorf("markMasqBit %d is not 0 to 31", bit)
	}
	p.masq = p.choose(named, 1<<bit)
	return p, nil
}

// choose decides who is masqueraded. The reference's backends differ: by
// nf_tables the pod itself and 127.0.0.1, by iptables, which it prefers when
// none is named, the pod's whole subnet, by a mark. Without the latter a pod
// gets no answer from its neighbour's host port where the kernel does not show
// bridged packets to the rules.
func (p *portmap) choose(named bool, mark uint32) hostMasq {
	switch {
	case p.SNAT != nil && !*p.SNAT:
		return hostMasq{}
	case named:
		return hostMasq{on: true}
	}
	return hostMasq{on: true, mark: mark, all: p.MasqAll}
}

func (*portmap) name() string { return "portmap" }

// mapping is one element of the portMappings capability.
type mapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP"`

	number byte       // of the protocol
	hostIP netip.Addr // invalid: any
}

// mappings are the pod's ports. They come from outside of the configuration
// and are checked even though the caller has done so.
func (p *portmap) mappings(c *call) ([]mapping, error) {
	raw := c.pod.Capabilities["portMappings"]
	if len(raw) == 0 || !p.Capabilities["portMappings"] {
		return nil, nil
	}
	var ms []mapping
	if err := json.Unmarshal(raw, &ms); err != nil {
		return nil, fmt.Errorf("portMappings: %w", err)
	}
	for i := range ms {
		m := &ms[i]
		switch strings.ToLower(m.Protocol) {
		case "tcp":
			m.number = unix.IPPROTO_TCP
		case "udp":
			m.number = unix.IPPROTO_UDP
		case "sctp":
			m.number = unix.IPPROTO_SCTP
		default:
			return nil, fmt.Errorf("host port %d: protocol %q", m.HostPort, m.Protocol)
		}
		if m.HostPort < 1 || m.HostPort > 65535 || m.ContainerPort < 1 || m.ContainerPort > 65535 {
			return nil, fmt.Errorf("host port %d to %d: ports are 1 to 65535", m.HostPort, m.ContainerPort)
		}
		if m.HostIP == "" {
			continue
		}
		addr, err := netip.ParseAddr(m.HostIP)
		if err != nil {
			return nil, fmt.Errorf("host port %d: %w", m.HostPort, err)
		}
		m.hostIP = addr.Unmap()
	}
	return ms, nil
}

func (p *portmap) add(_ context.Context, c *call) error {
	ports, err := p.mappings(c)
	if err != nil || len(ports) == 0 {
		return err
	}
	for _, pod := range podAddresses(c.result, c.pod.IfName) {
		// route_localnet makes the host's own 127.0.0.1 lead out, and in: the
		// rule against the latter comes first.
		if bridge := bridgeOf(c.result); p.masq.on && pod.Addr().Is4() && bridge != "" {
			if err := c.net.letLocalhostOut(bridge); err != nil {
				return fmt.Errorf("host ports on 127.0.0.1: %w", err)
			}
		}
		if err := c.net.forward(c.pod.ID, pod, ports, p.masq); err != nil {
			return fmt.Errorf("host ports to %s: %w", pod, err)
		}
		if err := forgetFlows(ports, pod.Addr().Is4()); err != nil {
			c.net.log.Warn("old connections to host ports not forgotten", "pod", c.pod.ID, "error", err)
		}
	}
	return nil
}

func (p *portmap) del(_ context.Context, c *call) error {
	if ports, err := p.mappings(c); err == nil && len(ports) == 0 {
		return nil
	}
	return c.net.unforward(c.pod.ID)
}

func (p *portmap) check(_ context.Context, c *call) error {
	ports, err := p.mappings(c)
	if err != nil || len(ports) == 0 {
		return err
	}
	return c.net.rules.do(func(r *rules) error {
		for _, pod := range podAddresses(c.result, c.pod.IfName) {
			n, err := r.count(equals(hostComment(c.pod.ID)), hostChain(pod.Addr().Is4(), hostPorts))
			if err != nil {
				return err
			}
			if want := len(forFamily(ports, pod.Addr().Is4())); n < want {
				return fmt.Errorf("%d rules for %d host ports to %s", n, want, pod)
			}
		}
		return nil
	})
}

// podAddresses are the first address of each family that is the pod's, with
// its subnet.
func podAddresses(r *types100.Result, ifName string) (out []netip.Prefix) {
	for _, ip := range r.IPs {
		if i := ip.Interface; i != nil && *i >= 0 && *i < len(r.Interfaces) &&
			(r.Interfaces[*i].Name != ifName || r.Interfaces[*i].Sandbox == "") {
			continue
		}
		a, ok := netip.AddrFromSlice(ip.Address.IP)
		a = a.Unmap()
		ones, _ := ip.Address.Mask.Size()
		same := func(b netip.Prefix) bool { return b.Addr().Is4() == a.Is4() }
		if ok && !slices.ContainsFunc(out, same) {
			out = append(out, netip.PrefixFrom(a, ones))
		}
	}
	return out
}

func bridgeOf(r *types100.Result) string {
	if len(r.Interfaces) <= atPod {
		return ""
	}
	return r.Interfaces[atBridge].Name
}

// forgetFlows drops what connection tracking knows about UDP to these ports:
// it would go on to lead to the pod that had them before.
func forgetFlows(ports []mapping, is4 bool) (err error) {
	family := netlink.InetFamily(unix.AF_INET)
	if !is4 {
		family = unix.AF_INET6
	}
	for _, m := range ports {
		if m.number != unix.IPPROTO_UDP {
			continue
		}
		filter := &netlink.ConntrackFilter{}
		bad := errors.Join(filter.AddProtocol(m.number), filter.AddPort(netlink.ConntrackOrigDstPort, uint16(m.HostPort)))
		if bad == nil {
			_, bad = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, filter)
		}
		err = errors.Join(err, bad)
	}
	return err
}
