package gate

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Event is one system call that waits.
type Event struct {
	Call   string // "mkdir", "send" and so on
	Pid    int    // of the thread
	Keeper bool   // made by the keeper or by a child that it prepares; else by the daemon
}

func (e Event) String() string {
	if e.Keeper {
		return "keeper: " + e.Call
	}
	return "daemon: " + e.Call
}

// Gate is where the calls of one or more lives of a daemon wait.
type Gate struct {
	socket *net.UnixListener
	work   sync.WaitGroup

	mu     sync.Mutex // guards the fields below; held while an event is decided
	decide func(Event) syscall.Errno
	closed bool
	err    error
}

// New makes a gate that lets everything pass. dir is for its socket.
func New(dir string) (*Gate, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(dir, "gate.sock")})
	if err != nil {
		return nil, err
	}
	g := &Gate{socket: l}
	g.work.Go(g.accept)
	return g, nil
}

// Command is what to start instead of args, and what to add to its environment.
func (g *Gate) Command(args []string) (argv, env []string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	return append([]string{self}, args...), []string{socketKey + "=" + g.socket.Addr().String()}, nil
}

// Watch has decide called for each event, one at a time: 0 lets the call pass,
// anything else is its answer. nil lets all pass.
func (g *Gate) Watch(decide func(Event) syscall.Errno) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.decide = decide
}

// Close ends the gate, after everything that came through it. It returns what
// went wrong meanwhile.
func (g *Gate) Close() error {
	_ = g.socket.Close()
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.work.Wait()
	return g.err
}

func (g *Gate) open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.closed
}

func (g *Gate) fail(what string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = errors.Join(g.err, fmt.Errorf("%s: %w", what, err))
}

func (g *Gate) accept() {
	for {
		c, err := g.socket.AcceptUnix()
		if err != nil {
			return // closed
		}
		fd, err := take(c)
		_ = c.Close()
		if err != nil {
			g.fail("take listener", err)
			continue
		}
		g.work.Go(func() { g.serve(fd) })
	}
}

// take fetches the listener from the process on the other side.
func take(c *net.UnixConn) (int, error) {
	var number [1]byte
	if _, err := c.Read(number[:]); err != nil {
		return -1, err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil || credErr != nil {
		return -1, errors.Join(err, credErr)
	}
	pidfd, err := unix.PidfdOpen(int(cred.Pid), 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, int(number[0]), 0)
	if err != nil {
		return -1, err
	}
	_, err = c.Write([]byte{1})
	return fd, err
}

// notification is struct seccomp_notif, answer struct seccomp_notif_resp.
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type answer struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

const (
	ioctlRecv    = 0xc0502100
	ioctlSend    = 0xc0182101
	flagContinue = 1
)

// serve answers until the last process behind the listener has ended.
func (g *Gate) serve(fd int) {
	defer unix.Close(fd)
	for g.open() {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, 100); err != nil && !errors.Is(err, unix.EINTR) {
			g.fail("poll listener", err)
			return
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			if poll[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0 {
				return // nobody is left behind it
			}
			continue
		}
		var n notification
		if errno := ioctl(fd, ioctlRecv, unsafe.Pointer(&n)); errno != 0 {
			if errno == unix.ENOENT || errno == unix.EINTR { // it has died meanwhile
				continue
			}
			g.fail("receive notification", errno)
			return
		}
		a := answer{id: n.id, flags: flagContinue}
		if errno := g.ask(&n); errno != 0 {
			a.flags, a.err = 0, -int32(errno)
		}
		_ = ioctl(fd, ioctlSend, unsafe.Pointer(&a)) // ENOENT: it has died
	}
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	return errno
}

// ask has an event decided, if it is one of the product's own.
func (g *Gate) ask(n *notification) syscall.Errno {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.decide == nil {
		return 0
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", n.pid))
	if err != nil {
		return 0
	}
	e := Event{Call: calls[uint32(n.nr)], Pid: int(n.pid), Keeper: strings.Contains(exe, "slipway-keeper")}
	if !e.Keeper && filepath.Base(exe) != "slipway" {
		return 0
	}
	return g.decide(e)
}
