package program

import "golang.org/x/sys/unix"

// gate holds the child back: it says that it is there (its pid comes along as
// SCM_CREDENTIALS), waits to be let through, and asks once more, which fails
// with EPIPE when whoever holds the other end has let go of it instead of
// answering, or has died. The socket is an ordinary descriptor of the child and
// is closed with the others.
func (a *assembly) gate(socket int) {
	if socket <= 0 {
		return
	}
	a.about("")
	a.call("come to the gate", unix.SYS_SENDTO, fd(socket), "1", 1, unix.MSG_NOSIGNAL, 0, 0)
	a.call("wait at the gate", unix.SYS_RECVFROM, fd(socket), a.words(0), 1, 0, 0, 0)
	a.call("pass the gate", unix.SYS_SENDTO, fd(socket), "2", 1, unix.MSG_NOSIGNAL, 0, 0)
}
