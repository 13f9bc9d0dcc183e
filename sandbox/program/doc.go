// Package program makes a process by a list of system calls: the daemon builds
// the list with every path already opened and every string already written, the
// keeper clones a child that runs it and ends in execve.
//
// This is the daemon's side: the builders (Container, Exec, Pod, Reaper) and
// Program. The keeper's side, which maps, clones and starts, is package runner;
// between them lie a sealed memfd and a list of descriptors. No Go runs in the
// child. A failure is the index of a step and an errno, which Program.Failure
// turns into words.
//
// It is not a sandbox policy. What a container may do is decided in the OCI
// spec that the builders are given.
//
// Where nobody else can see the child (a new PID namespace of its own) one
// clone is enough. Wherever others live in the PID namespace (exec, a shared
// one, TARGET, the host's) there are two: the first child, invisible, does every
// step, gives up what it has and only then clones the one that appears inside;
// cloned straight into it, the child would be a full escape for any container
// with CAP_SYS_PTRACE (the class of CVE-2016-9962), even with memory of its own
// and not dumpable.
//
// The trap: a Program owns the descriptors that its builder opened, and they
// must stay open until the keeper has them.
package program
