// Package sandbox owns the life of pod sandboxes and containers: it decides,
// opens, records, and has the keeper act.
//
// It is the only owner of their state. What is durable lies in small files, one
// writer each (FORMAT.md); what is in memory is one map of pods, and an
// immutable snapshot of each pod and container behind an atomic pointer, so
// that List, Status and Stats take no lock and read no disk.
//
// It is not the CRI: requests come as CRI messages, but gRPC codes, filters and
// replies are the server's. It starts no process itself: a start is a program
// of system calls that the keeper runs.
//
// Trap: an effect outside the process (cgroup, mount, namespace, address) is
// announced in a file before it is made, and undone by the same code in
// rollback and in recovery. A step that is added without its record leaks.
package sandbox
