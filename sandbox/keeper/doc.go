// Package keeper is process 2: it starts every container and exec, is their
// parent, reaps them, pumps their output into log files, and holds the
// descriptors that must outlive the daemon.
//
// It decides nothing and knows no path: it sits in a mount namespace with
// nothing in it and acts only on descriptors that the daemon passed. It runs
// programs of package program, which it knows only as what package runner
// takes; what a container is, it does not know.
//
// How it waits: one epoll loop holds the pidfds and the FIFOs, one shot each. A
// container that writes nothing costs no goroutine. A readable FIFO starts that
// container's pump, a readable pidfd the handling of its end.
//
// Locks: Keeper.mu guards the table of items and is never held over I/O; a
// pump's turn is held for one batch. A container can hold up only itself: every
// wait is bounded and nothing is held over a start.
//
// Trap: a descriptor must not be closed while a pump may still write to its
// number, or the bytes go into another container's file. Items are counted
// (use, release) and closed by the last user.
package keeper
