// Package leak finds what a test leaves behind on the machine: mounts,
// namespaces, cgroups, links and addresses, processes and their open files,
// firewall rules, files, System V IPC, and changed sysctls. Take a snapshot before and after; the difference must
// be empty.
//
// It is not a monitor: it sees two moments. It looks from the caller's own
// namespaces (mount, network, PID), so it belongs on a machine of its own
// (test/machine), where nobody else makes or removes anything.
//
// Trap: what has just been closed may take the kernel a moment to undo (a dead
// network namespace's veth pair, for one). Settled asks again for a while.
package leak
