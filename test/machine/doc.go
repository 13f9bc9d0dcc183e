// Package machine gives a program a small private machine to test slipway on:
// mount, network, IPC, UTS and PID namespaces of its own, a fresh /proc and
// /run, loopback up, and a private directory. It starts daemons there, and when
// the program ends, however it ends, the kernel ends every process of it.
//
// It is not a container: the file system, the users and the cgroups are the
// host's. The cgroups made below Cgroup are removed at the end.
//
// Trap: the program runs again from the top of main inside. Run must come
// before anything else that has an effect. SIGKILL to the outermost process
// ends everything, but leaves the directory and empty cgroups behind.
package machine
