// Package program makes a process by a list of system calls: the daemon builds
// the list with every path already opened and every string already written, the
// keeper clones a child that runs it and ends in execve.
//
// The daemon's side is the builders (Container, Exec, Pod, Reaper) and Program;
// the keeper's side is Load and Start; between them lies a sealed memfd and a
// list of descriptors. No Go runs in the child: about a hundred lines of
// assembler per architecture (run_*.s) execute the list. A failure is the index
// of a step and an errno, which Program.Failure turns into words.
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
// The trap is reaping. Start clones children that its caller has never heard of
// and waits for them by number, so a process that uses it must not reap children
// it does not know: look first (WNOWAIT), then take only what is known. A second
// one: a Program owns the descriptors that its builder opened, and they must
// stay open until the keeper has them.
package program
