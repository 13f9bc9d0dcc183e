package native

import (
	"crypto/sha512"
	"fmt"
	"net/netip"
	"strings"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"
)

// Masquerading as the reference does it with nf_tables: one rule an address,
// whose comment begins with a hash of network, interface and pod.

const (
	natPostrouting = 100 // NF_IP_PRI_NAT_SRC
	natPrerouting  = -100
)

func masqChecks() chain {
	return chain{table: table{unix.NFPROTO_INET, "cni_plugins_masquerade"}, chain: "masq_checks"}
}

func masqEntry() chain {
	c := masqChecks()
	c.chain, c.kind, c.hook, c.priority = "postrouting", "nat", unix.NF_INET_POST_ROUTING, natPostrouting
	return c
}

// masquerade lets the addresses leave under the host's address, when they go
// outside their network.
func (n *Network) masquerade(network, id, ifName string, ips []*types100.IPConfig) error {
	var add []message
	for _, ip := range ips {
		addr, _ := netip.AddrFromSlice(ip.Address.IP)
		addr = addr.Unmap()
		ones, _ := ip.Address.Mask.Size()
		add = append(add, masqChecks().rule(masqComment(network, id, ifName),
			family(addr), address(source, single(addr), is),
			address(destination, netip.PrefixFrom(addr, ones), not), masqueradeIt()))
	}
	return n.rules.do(func(r *rules) error { return r.applyIn(masqFrame(), add...) })
}

func masqFrame() frame {
	checks, entry := masqChecks(), masqEntry()
	multicast4, multicast6 := netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("ff00::/8")
	return frame{
		needs: []message{checks.table.ensure(), checks.ensure()},
		entries: []entryRules{{entry, []message{
			entry.rule("", family(multicast4.Addr()), address(destination, multicast4, is), verdict(unix.NFT_RETURN, "")),
			entry.rule("", family(multicast6.Addr()), address(destination, multicast6, is), verdict(unix.NFT_RETURN, "")),
			entry.rule("", verdict(unix.NFT_GOTO, checks.chain)),
		}}},
	}
}

func (n *Network) unmasquerade(network, id, ifName string) error {
	return n.rules.do(func(r *rules) error {
		return r.removeBy(begins(masqHash(network, id, ifName)), masqChecks())
	})
}

func (n *Network) masqueraded(network, id, ifName string) (count int, err error) {
	err = n.rules.do(func(r *rules) error {
		count, err = r.count(begins(masqHash(network, id, ifName)), masqChecks())
		return err
	})
	return count, err
}

const hashLength = 16 // hex digits

func hash(s string) string { return fmt.Sprintf("%x", sha512.Sum512([]byte(s)))[:hashLength] }

func masqHash(network, id, ifName string) string {
	return hash(network) + "-" + hash(ifName+":"+id)
}

func masqComment(network, id, ifName string) string {
	c := fmt.Sprintf("%s, net: %s, if: %s, id: %s", masqHash(network, id, ifName), network, ifName, id)
	return strings.ReplaceAll(c, `"`, "")
}
