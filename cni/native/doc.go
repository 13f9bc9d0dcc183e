// Package native does the work of the reference CNI plugins bridge,
// host-local, portmap and loopback in this process, with netlink and nf_tables.
//
// It is not a network of its own: configuration keys, results, files of
// host-local and rules are those of the reference plugins v1.9.1, so that they
// and this package can take turns on one node. [Parse] takes a list of plugins
// or says why it cannot; a list is taken whole or not at all.
//
// What differs, and why:
//
//   - Rules are nf_tables rules, in the reference's tables of that backend.
//     The reference prefers iptables when a list names no backend and the
//     program is there; a list that asks for iptables by name is not taken.
//   - Deleting a network device waits for an RCU grace period, 15 to 40 ms
//     with a lock held that the whole network shares. Del shuts the pod's
//     bridge port instead, which is instant, and leaves the device to the end
//     of the namespace; a device that is still there after a while (somebody
//     holds the namespace) is deleted in the background. See reaper.go.
//   - route_localnet, which host ports on 127.0.0.1 need, lets pods reach the
//     loopback services of the host (CVE-2020-8558). It is set on the bridge
//     alone and only behind a rule that drops 127.0.0.0/8 coming from there.
//
// The trap: a thread in another network namespace. Everything that must run
// in a pod's namespace goes through visit (namespace.go), and nothing that was
// opened there is used outside of it.
package native
