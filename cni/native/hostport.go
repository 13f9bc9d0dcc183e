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

// hostMasq says which connections to host ports come from the host's address,
// since their answers would not find their way otherwise.
type hostMasq struct {
	on   bool
	mark uint32 // 0: those of the pod to itself and of 127.0.0.1, as they leave
	all  bool   // with a mark: all, not only those of the pod's subnet and 127.0.0.1
}

// forward makes the ports lead to the pod.
func (n *Network) forward(id string, pod netip.Prefix, ports []mapping, masq hostMasq) error {
	addr := pod.Addr()
	var add []message
	to, comment := hostChain(addr.Is4(), hostPorts), hostComment(id)
	for _, m := range forFamily(ports, addr.Is4()) {
		match := port(m.number, uint16(m.HostPort))
		if m.hostIP.IsValid() && !m.hostIP.IsUnspecified() {
			match = join(address(destination, single(m.hostIP), is), match)
		}
		for _, who := range masq.marked(pod) {
			add = append(add, to.rule(comment, match, who, setMark(masq.mark)))
		}
		add = append(add, to.rule(comment, match, redirect(netip.AddrPortFrom(addr, uint16(m.ContainerPort)))))
	}
	leave := hostChain(addr.Is4(), hostMasquerading)
	for _, who := range masq.leaving(addr) {
		add = append(add, leave.rule(comment, who, address(destination, single(addr), is), masqueradeIt()))
	}
	return n.rules.do(func(r *rules) error { return r.applyIn(hostFrame(addr.Is4(), masq.on), add...) })
}

func localhost() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }

// marked are the matches of those that get the mark on their way in.
func (m hostMasq) marked(pod netip.Prefix) [][]byte {
	switch {
	case m.mark == 0:
		return nil
	case m.all:
		return [][]byte{nil}
	}
	who := [][]byte{address(source, pod, is)}
	if pod.Addr().Is4() {
		who = append(who, address(source, single(localhost()), is))
	}
	return who
}

// leaving are the matches of those that are masqueraded on their way out.
func (m hostMasq) leaving(pod netip.Addr) [][]byte {
	switch {
	case !m.on:
		return nil
	case m.mark != 0:
		return [][]byte{hasMark(m.mark)}
	}
	who := [][]byte{address(source, single(pod), is)}
	if pod.Is4() {
		who = append(who, address(source, single(localhost()), is))
	}
	return who
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

func (n *Network) unforward(id string) error {
	return n.rules.do(func(r *rules) error {
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
