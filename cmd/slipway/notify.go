package main

import (
	"net"
	"os"
)

// notify tells a service manager how the daemon is (sd_notify(3)), such as
// "READY=1". Without one that listens, and for one that does not, it does
// nothing: the daemon serves all the same.
func notify(socket, state string) {
	if socket == "" {
		return
	}
	c, err := net.Dial("unixgram", socket) // "@" is an abstract name, to Go too
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte(state))
}

// notifySocket takes the manager's socket out of the environment, so that no
// network plugin speaks in our name.
func notifySocket() string {
	socket := os.Getenv("NOTIFY_SOCKET")
	_ = os.Unsetenv("NOTIFY_SOCKET")
	return socket
}
