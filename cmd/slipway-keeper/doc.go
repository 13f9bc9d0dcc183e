// Command slipway-keeper is process 2 of slipway: it parents containers, pumps
// their logs and outlives the daemon. It is started by the daemon only, from a
// sealed memfd in an empty mount namespace, with these descriptors:
//
//	0     /dev/null
//	1, 2  where its messages go
//	3     the listening socket
//
// and -build, the digest of its own binary, which it cannot read itself. After
// an upgrade it finds everything in the memfd -state instead.
//
// Trap: it has no files. Whatever would open a path (time zones, /proc, DNS)
// does not work here.
package main
