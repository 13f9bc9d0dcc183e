// Package cri tests a real slipway daemon through the kubelet's own client
// (k8s.io/cri-client), on a private machine: the tests run as root in mount,
// network, PID, IPC and UTS namespaces of their own.
//
// Each test starts a daemon on directories of its own and must leave nothing
// behind: the leak oracle looks when the pods are gone, with the daemon still
// there, and again after its end.
//
// It is not upstream conformance: that is critest, in the directory below.
package cri
