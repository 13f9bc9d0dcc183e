// Package linux is the fence around the system calls of the sandbox: the mount
// API by descriptors, path walks inside a root by openat2, pidfds, namespaces,
// capabilities, terminals, sealed memfds, and probes of what the kernel can do.
//
// It decides nothing. It knows no pod, no container and no spec; it says what a
// call did, with the errno at the root of the error.
//
// The trap: a path inside a container's root is never a string for the kernel.
// It is walked component by component from a descriptor of the root (Tree,
// OpenIn), because the container, or another one that shares a volume with it,
// can turn any part of it into a symlink at any moment (CVE-2021-30465,
// CVE-2024-45310). Functions that take a plain path are for the host's own
// paths only, and say so.
package linux
