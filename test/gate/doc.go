// Package gate stands before the system calls of a daemon under test: each one
// that changes something outside the process waits until a test lets it pass,
// answers it with an error, or kills whoever made it. So a test kills at every
// single step of an operation, in the order in which they happen, and the
// product holds no code for it.
//
// The daemon is started through the test's own program (Entry in TestMain),
// which loads a seccomp filter with a listener and executes the daemon. The
// keeper and the containers inherit the filter; what is not the product's own
// code, a plugin or a container's command, passes unseen.
//
// Trap: a gate must stay open as long as anything that inherited it lives:
// without a listener the calls fail with ENOSYS.
package gate
