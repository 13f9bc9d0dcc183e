// Package cgroup makes, limits, measures, kills and removes the control groups
// of pods and containers, on cgroup v2, on v1, and on v1 with an empty cgroup2
// tree beside it (hybrid).
//
// A Tree is the host's set of hierarchies as they are mounted where the daemon
// runs; a Group is one path in all of them. A path such as
// "/kubepods/burstable/pod4/<id>" is absolute in each hierarchy as mounted; the
// daemon's own group does not matter.
//
// It is not a process manager: it never puts a process into a group by pid.
// Join gives file descriptors, and the child places itself: on v2 by
// CLONE_INTO_CGROUP, on v1 by writing "0" to each tasks file.
//
// With the systemd driver the same directories are made and limited, below
// systemd's slices; systemd is then told to make the leaf a scope of its own,
// around the first process, which waits at a Gate, and with properties that say
// what the files say. Files come first in every change: the kernel is who
// refuses, and systemd learns what holds.
//
// Its trap: a process frozen by the v1 freezer cannot be killed, not even by
// cgroup.kill, and a container with privileges can freeze groups of its own
// below its leaf. Kill thaws the whole subtree before each try. The other trap:
// a mounted cgroup2 tree does not mean v2; the file system of /sys/fs/cgroup
// decides.
package cgroup
