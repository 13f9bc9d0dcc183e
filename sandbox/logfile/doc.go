// Package logfile frames what a container writes as lines of the CRI log:
//
//	2026-01-02T15:04:05.000000000Z stdout F content
//
// F is a full line, P a part of one: a line longer than MaxLine, or the last
// piece of a batch that does not end in a newline. A reader joins the parts of
// a stream up to the next F.
//
// It does no I/O and knows no file: bytes in, bytes out. Where they go, what
// happens when they cannot be written, and rotation belong to the keeper.
//
// Trap: a Framer that has written a P owes that stream an F. When a batch is
// thrown away or written again, put its State back first.
package logfile
