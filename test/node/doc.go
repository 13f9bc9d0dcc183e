// Package node is a slipway daemon under test on a private machine, with the
// kubelet's own client connected to it, a registry of test images, and a leak
// oracle that looks when the test ends.
//
// It is no test itself: test/cri and test/crash are.
//
// Trap: a test's end removes every pod of its node and fails the test when
// anything is left, first with the daemon idle, then after its end.
package node
