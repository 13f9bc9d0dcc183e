// Command critest runs the upstream CRI conformance suite against slipway, on
// a private machine (test/machine), with images of our own (test/image), and
// prints "critest: P passed, F failed, S skipped". It ends with 1 when a spec
// failed or when something is left on the machine.
//
//	make critest
//	make critest CRITEST_FLAGS='-focus Streaming -websocket'
//
// It is not a judge of its own: what passes is upstream's word. Specs are
// skipped by name only in skips.go, with the reason.
//
// Trap: with -serve it runs any other CRI runtime instead. That shows whether
// a failure is the runtime's or the harness's.
package main
