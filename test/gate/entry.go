package gate

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socketKey is the environment variable that makes a test's program an entry.
const socketKey = "SLIPWAY_TEST_GATE"

// Entry does nothing, unless this program was started by Command: then it loads
// the filter, hands its listener to the gate, and becomes the daemon. It is
// called first in TestMain.
func Entry() {
	socket := os.Getenv(socketKey)
	if socket == "" {
		return
	}
	err := enter(socket, os.Args[1:])
	fmt.Fprintln(os.Stderr, "gate:", err)
	os.Exit(1)
}

func enter(socket string, args []string) error {
	runtime.LockOSThread() // the filter is this thread's, and execve keeps this one alone
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: socket})
	if err != nil {
		return err
	}
	sock, err := c.File()
	if err != nil {
		return err
	}
	if err := os.Unsetenv(socketKey); err != nil {
		return err
	}
	listener, err := load(program())
	if err != nil {
		return fmt.Errorf("load filter: %w", err)
	}
	// Not sendmsg: it would wait for the gate, which does not stand yet.
	if err := handOver(int(sock.Fd()), listener); err != nil {
		return fmt.Errorf("hand over listener: %w", err)
	}
	return syscall.Exec(args[0], args, os.Environ())
}

// load puts the filter on this thread and returns its listener.
func load(prog []unix.SockFilter) (int, error) {
	f := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&f)))
	runtime.KeepAlive(prog)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// handOver tells the number of the listener; the gate takes the descriptor itself.
func handOver(sock, listener int) error {
	_, err := unix.Write(sock, []byte{byte(listener)})
	if err != nil {
		return err
	}
	var b [1]byte
	if _, err = unix.Read(sock, b[:]); err != nil { // it has it
		return err
	}
	return unix.Close(listener)
}
