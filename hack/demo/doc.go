// Command demo shows slipway at work: on a private machine (test/machine) it
// starts slipway, serves one image from a loopback registry, pulls it, runs a
// pod with an address, looks at its log, an exec, its stats and its web page,
// removes everything, and proves that nothing is left.
//
//	make demo
//	make demo DEMO_FLAGS=-stay     # waits before it tidies up, for crictl by hand
//
// It is not a test: it takes the one straight way and stops at the first thing
// that goes wrong, with status 1. It cleans up then too.
//
// Trap: the crictl lines that it prints are what a person would type; the demo
// itself speaks the CRI over gRPC.
package main
