// Package runner is the keeper's side of a syscall program: it maps the sealed
// memfd, clones, and a hundred lines of assembler in the child run the list up
// to execve. It is the whole of what the keeper links for that: package program,
// which builds the lists, knows OCI specs and is the daemon's.
//
// The form of a program (Form, Encode) is defined here, beside what reads it.
//
// It trusts the daemon to ask for the right calls, and nothing else: a malformed
// program is an error, never a crash, and what comes back from a child that
// others can see (a status page that they may have written) is checked before
// use and is never a pid.
//
// The trap is reaping. Start clones children that its caller has never heard of
// and waits for them by number, so a process that uses it must not reap children
// it does not know: look first (WNOWAIT), then take only what is known. A second
// one: a process that starts programs of two clones must be built without cgo.
// libc registers an rseq area for each thread, the child does not keep it, and
// the kernel kills a process whose area is gone.
package runner
