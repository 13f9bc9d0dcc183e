package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Gate holds the first process of a scope back until systemd has made the scope
// around it: systemd takes no scope without a process, and its limits have to
// hold from the process's first step on.
//
// The process writes a byte to the socket Fd, with which the kernel gives its
// pid, reads one, and writes another: this one fails when we have let go of the
// other end instead, or have died.
type Gate struct {
	group *Group
	child int // its end
	close sync.Once
	conn  *net.UnixConn
	stop  context.CancelCauseFunc
	done  chan struct{}
	err   error // valid when done is closed
}

// errGateClosed ends what was still under way for a process that has failed.
var errGateClosed = errors.New("gate closed")

// gateLimit bounds the wait at a gate: less than systemd's own, so that the
// reason is told by whoever knows it.
const gateLimit = 40 * time.Second

// Gate makes a gate for the first process of the group; nil when none is needed,
// because systemd has no part in it. ctx and gateLimit bound it. Close it.
func (g *Group) Gate(ctx context.Context) (*Gate, error) {
	if _, _, ok := g.scope(); !ok {
		return nil, nil
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("gate of cgroup %q: %w", g.path, err)
	}
	ours := os.NewFile(uintptr(pair[0]), "gate")
	err = unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	var conn net.Conn
	if err == nil {
		conn, err = net.FileConn(ours)
	}
	_ = ours.Close()
	if err != nil {
		_ = unix.Close(pair[1])
		return nil, fmt.Errorf("gate of cgroup %q: %w", g.path, err)
	}
	t := &Gate{group: g, child: pair[1], conn: conn.(*net.UnixConn), done: make(chan struct{})}
	ctx, t.stop = context.WithCancelCause(ctx)
	go t.serve(ctx)
	return t, nil
}

// Fd is the process's end, which stays the gate's; 0 of a nil gate.
func (t *Gate) Fd() int {
	if t == nil {
		return 0
	}
	return t.child
}

// Limit is how long a process may have to wait; 0 of a nil gate.
func (t *Gate) Limit() time.Duration {
	if t == nil {
		return 0
	}
	return gateLimit
}

// Close ends the gate and says why a process was not let through; nil when it
// was, or when none came.
func (t *Gate) Close() error {
	if t == nil {
		return nil
	}
	t.close.Do(func() {
		_ = unix.Close(t.child)
		t.stop(errGateClosed)
	})
	<-t.done
	if errors.Is(t.err, errGateClosed) {
		return nil
	}
	return t.err
}

// serve lets one process through.
func (t *Gate) serve(ctx context.Context) {
	defer close(t.done)
	defer t.conn.Close()
	ctx, cancel := context.WithTimeout(ctx, gateLimit)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = t.conn.SetReadDeadline(time.Unix(1, 0)) })()
	pid, err := t.come()
	if err != nil || pid == 0 {
		t.err = err
		return
	}
	if err := t.group.register(ctx, pid); err != nil {
		t.err = err
		return
	}
	if _, err := t.conn.Write([]byte{1}); err != nil {
		return // it has died meanwhile, and whoever waits for it says so
	}
	_, _ = t.conn.Read(make([]byte, 1)) // its last word; the end must not close before
}

// come waits for the process; 0 when none comes.
func (t *Gate) come() (int, error) {
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	n, oobn, _, _, err := t.conn.ReadMsgUnix(make([]byte, 1), oob)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ECONNRESET), err == nil && n == 0:
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("gate of cgroup %q: %w", t.group.path, err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return 0, fmt.Errorf("gate of cgroup %q: %w", t.group.path, err)
	}
	for i := range messages {
		if cred, err := unix.ParseUnixCredentials(&messages[i]); err == nil && cred.Pid > 0 {
			return int(cred.Pid), nil
		}
	}
	return 0, fmt.Errorf("gate of cgroup %q: the process has no pid here: %w", t.group.path, ErrUnsupported)
}
