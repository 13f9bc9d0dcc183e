package native

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

const rawPrerouting = -300 // NF_IP_PRI_RAW: before any address is changed

// letLocalhostOut lets connections to 127.0.0.1 be led to pods on the bridge,
// and keeps the pods from reaching what listens on 127.0.0.0/8 of the host,
// which the same switch would allow (CVE-2020-8558). The rules stay: pods of
// other programs may be on the bridge, and the switch does too.
func (n *Network) letLocalhostOut(bridge string) error {
	entry := chain{
		table: table{unix.NFPROTO_IPV4, "slipway_localnet"}, chain: "prerouting",
		kind: "filter", hook: unix.NF_INET_PRE_ROUTING, priority: rawPrerouting,
	}
	local := netip.MustParsePrefix("127.0.0.0/8")
	err := n.rules.do(func(r *rules) error {
		have, err := r.count(begins(bridge+" "), entry)
		if err != nil || have >= 2 { // more when two pods came at once
			return err
		}
		const dropIt = 0 // NF_DROP
		drop := verdict(dropIt, "")
		return r.apply(entry.table.ensure(), entry.ensure(),
			entry.rule(bridge+" pods: not to the host's loopback", from(bridge), address(destination, local, is), drop),
			entry.rule(bridge+" pods: not from it", from(bridge), address(source, local, is), drop))
	})
	if err != nil {
		return err
	}
	return setSysctl("ipv4/conf/"+bridge+"/route_localnet", "1")
}
