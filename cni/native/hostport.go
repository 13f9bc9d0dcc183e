package native

import (
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// Host ports as the reference does them with nf_tables: a table for each
// family, one rule a port in "hostports", one or two rules a pod in
// "masquerading"; all with the pod's id for a comment.

const (
	hostAll          = "hostports_all"
	hostOld          = "hostip_hostports" // of old versions of the reference; kept empty
	hostPorts        = "hostports"
	hostMasquerading = "masquerading"
)

func hostTable(is4 bool) table {
	if is4 {
		return table{unix.NFPROTO_IPV4, "cni_hostport"}
	}
	return table{unix.NFPROTO_IPV6, "cni_hostport"}
}

func hostChain(is4 bool, name string) chain { return chain{table: hostTable(is4), chain: name} }

// hostEntry is where packets come in: from outside and from the host itself.
func hostEntry(is4 bool, name string, hook uint32, priority int32) chain {
	return chain{table: hostTable(is4), chain: name, kind: "nat", hook: hook, priority: priority}
}

func hostFrame(is4, snat bool) frame {
	f := frame{needs: []message{hostTable(is4).ensure()}}
	for _, name := range []string{hostPorts, hostOld, hostAll} {
		f.needs = append(f.needs, hostChain(is4, name).ensure())
	}
	all := hostChain(is4, hostAll)
	f.entries = append(f.entries, entryRules{all, []message{
		all.rule("", verdict(unix.NFT_JUMP, hostOld)), all.rule("", verdict(unix.NFT_JUMP, hostPorts)),
	}})
	for _, e := range []chain{
		hostEntry(is4, "prerouting", unix.NF_INET_PRE_ROUTING, natPrerouting),
		hostEntry(is4, "output", unix.NF_INET_LOCAL_OUT, natPrerouting),
	} {
		f.entries = append(f.entries, entryRules{e, []message{e.rule("", toThisHost(), verdict(unix.NFT_JUMP, hostAll))}})
	}
	if snat {
		f.needs = append(f.needs, hostEntry(is4, hostMasquerading, unix.NF_INET_POST_ROUTING, natPostrouting).ensure())
	}
	return f
}

// forward makes the ports lead to the pod. With snat, connections from the
// pod to itself and from 127.0.0.1 come from the host's address, since the
// answers would not find their way otherwise.
func forward(id string, pod netip.Addr, ports []mapping, snat bool) error {
	var add []message
	to, comment := hostChain(pod.Is4(), hostPorts), hostComment(id)
	for _, m := range forFamily(ports, pod.Is4()) {
		var match []byte
		if m.hostIP.IsValid() && !m.hostIP.IsUnspecified() {
			match = address(destination, single(m.hostIP), is)
		}
		add = append(add, to.rule(comment, match, port(m.number, uint16(m.HostPort)),
			redirect(netip.AddrPortFrom(pod, uint16(m.ContainerPort)))))
	}
	if snat {
		leave := hostChain(pod.Is4(), hostMasquerading)
		self := address(destination, single(pod), is)
		add = append(add, leave.rule(comment, address(source, single(pod), is), self, masqueradeIt()))
		if pod.Is4() {
			localhost := netip.AddrFrom4([4]byte{127, 0, 0, 1})
			add = append(add, leave.rule(comment, address(source, single(localhost), is), self, masqueradeIt()))
		}
	}
	return withRules(func(r *rules) error { return r.applyIn(hostFrame(pod.Is4(), snat), add...) })
}

// forFamily leaves out the ports of an address of the other family.
func forFamily(ports []mapping, is4 bool) (out []mapping) {
	for _, m := range ports {
		if !m.hostIP.IsValid() || m.hostIP.Is4() == is4 {
			out = append(out, m)
		}
	}
	return out
}

func unforward(id string) error {
	return withRules(func(r *rules) error {
		var chains []chain
		for _, is4 := range []bool{true, false} {
			for _, name := range []string{hostPorts, hostOld, hostMasquerading} {
				chains = append(chains, hostChain(is4, name))
			}
		}
		return r.removeBy(equals(hostComment(id)), chains...)
	})
}

// hostComment is the pod's id.
func hostComment(id string) string { return strings.ReplaceAll(id, `"`, "") }
