// Package wire is the language of the daemon and the keeper: every message
// between the two processes, its encoding, and the passing of file descriptors.
//
// One SOCK_SEQPACKET unix socket carries it. A message is one packet: a small
// JSON header with the body inside, and descriptors beside it (SCM_RIGHTS). A
// packet takes at most MaxFdsPerPacket of them, so a message with more goes on
// in packets of type "more" that follow it directly.
//
// It is not a request library: matching replies to requests, time limits and
// who may connect are the business of the two ends.
//
// The trap: a received descriptor belongs to the receiver from that moment.
// Recv closes what it cannot hand out (a bad packet, a truncated control
// message), everything in Packet.Fds is the caller's to close.
package wire
