// Package kubelet runs a real kubelet over slipway and holds it to what a node
// promises: the order of a pod's containers at its beginning and its end,
// restarts and their back-off, probes and hooks, streams and logs through the
// kubelet, volumes and security contexts, and pods that stay up when kubelet,
// daemon or keeper are killed.
//
// The kubelet is standalone: its pods are files in a directory, there is no API
// server. Its program is not part of this repository; SLIPWAY_KUBELET names it
// (make node KUBELET=/path/to/kubelet), else every test skips.
//
// Trap: a kubelet writes sysctls and refuses to run if it cannot. TestMain
// covers those with plain files in the machine's mount namespace.
package kubelet
