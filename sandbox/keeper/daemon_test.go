package keeper

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
	"slipway/sandbox/wire"
)

// daemon is the other end of the wire in tests.
type daemon struct {
	t    testing.TB
	conn *wire.Conn

	mu      sync.Mutex
	seq     uint64
	answers map[uint64]chan wire.Packet
	exits   map[string]*wire.Exit
	cut     []string
	gone    chan struct{}
}

// startKeeper starts the test binary as a keeper on a socket of its own.
func startKeeper(t testing.TB, dir string, env ...string) (socket string, process *os.Process) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	ck(t, linux.BecomeSubreaper())
	socket = filepath.Join(dir, "keeper.sock")
	l, err := wire.Listen(socket)
	ck(t, err)
	lf := os.NewFile(uintptr(l), "listener")
	defer lf.Close()
	null, err := os.Open(os.DevNull)
	ck(t, err)
	defer null.Close()
	p, err := os.StartProcess("/proc/self/exe", []string{"slipway-keeper"}, &os.ProcAttr{
		Env: append(env, "SLIPWAY_TEST_ROLE=keeper", "GOMAXPROCS=2"), Files: []*os.File{null, os.Stderr, os.Stderr, lf},
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	ck(t, err)
	t.Cleanup(func() { _ = p.Kill(); _, _ = p.Wait() })
	return socket, p
}

// connect is a daemon that has said Hello; held is what the keeper gave back.
func connect(t testing.TB, socket string) (*daemon, map[string]*wire.Held, map[string]map[string]int) {
	t.Helper()
	c, err := wire.Dial(socket)
	ck(t, err)
	d := &daemon{t: t, conn: c, answers: map[uint64]chan wire.Packet{}, exits: map[string]*wire.Exit{}, gone: make(chan struct{})}
	t.Cleanup(func() { c.Close() })
	ck(t, c.Send(1, &wire.Hello{Version: wire.Version}))
	d.seq = 1
	held, fds := map[string]*wire.Held{}, map[string]map[string]int{}
	ck(t, c.SetReadDeadline(time.Now().Add(30*time.Second)))
	for want := -1; want != len(held); {
		p, err := c.Recv()
		ck(t, err)
		switch m := p.Message.(type) {
		case *wire.Welcome:
			want = m.Held
		case *wire.Held:
			held[m.ID] = m
			fds[m.ID], err = byName(m.Names, p.Fds)
			ck(t, err)
		case *wire.Exit:
			d.exits[m.ID] = m
		}
	}
	ck(t, c.SetReadDeadline(time.Time{}))
	go d.read()
	return d, held, fds
}

func (d *daemon) read() {
	defer close(d.gone)
	for {
		p, err := d.conn.Recv()
		if err != nil {
			return
		}
		d.mu.Lock()
		switch m := p.Message.(type) {
		case *wire.Exit:
			d.exits[m.ID] = m
		case *wire.Detached:
			d.cut = append(d.cut, m.Attacher)
		default:
			if c := d.answers[p.Seq]; c != nil {
				c <- p
			}
		}
		d.mu.Unlock()
	}
}

// ask sends a request and returns the answer.
func (d *daemon) ask(m wire.Message, fds ...int) wire.Packet {
	d.t.Helper()
	d.mu.Lock()
	d.seq++
	seq, c := d.seq, make(chan wire.Packet, 1)
	d.answers[seq] = c
	d.mu.Unlock()
	ck(d.t, d.conn.Send(seq, m, fds...))
	select {
	case p := <-c:
		return p
	case <-d.gone:
		d.t.Fatal("the keeper is gone")
	case <-time.After(30 * time.Second):
		d.t.Fatalf("no answer to %T", m)
	}
	return wire.Packet{}
}

// must is ask for requests that are answered with OK.
func (d *daemon) must(m wire.Message, fds ...int) {
	d.t.Helper()
	if p := d.ask(m, fds...); p.Fds != nil {
		d.t.Fatalf("%T: descriptors", m)
	} else if _, ok := p.Message.(*wire.OK); !ok {
		d.t.Fatalf("%T: %+v", m, p.Message)
	}
}

func (d *daemon) exit(id string) *wire.Exit {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.exits[id]
}

func (d *daemon) ended(id string) *wire.Exit {
	d.t.Helper()
	waitFor(d.t, "exit of "+id, func() bool { return d.exit(id) != nil })
	return d.exit(id)
}

// box is the plumbing of one container.
type box struct {
	t     testing.TB
	id    string
	dir   string
	fds   map[string]int // as the daemon holds them
	stdin int            // write end; closing it ends a writer
	read  int
	pid   int
	out   [3]int // in place of stdin and the FIFOs, when set
}

func newBox(t testing.TB, dir, id string) *box {
	t.Helper()
	b := &box{t: t, id: id, dir: filepath.Join(dir, id), fds: map[string]int{}}
	ck(t, os.Mkdir(b.dir, 0o700))
	open := func(name, path string, flags int) {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
		ck(t, err)
		b.fds[name] = fd
	}
	open(wire.FdRecord, b.dir, unix.O_RDONLY|unix.O_DIRECTORY)
	open(wire.FdLog, b.log(), unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT)
	for _, s := range []string{wire.FdStdout, wire.FdStderr} {
		ck(t, unix.Mkfifo(filepath.Join(b.dir, s), 0o600))
		open(s, filepath.Join(b.dir, s), unix.O_RDWR)
	}
	var p [2]int
	ck(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	b.fds[wire.FdStageR], b.fds[wire.FdStageW] = p[0], p[1]
	ck(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	b.read, b.stdin = p[0], p[1]
	t.Cleanup(func() {
		if fd, ok := b.fds[wire.FdPidfd]; ok {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			_, _, _ = linux.Reap(fd)
		}
		for _, fd := range b.fds {
			unix.Close(fd)
		}
		unix.Close(b.read)
		unix.Close(b.stdin)
	})
	return b
}

func (b *box) log() string { return filepath.Join(b.dir, "0.log") }

func (b *box) named() (names []string, fds []int) {
	for name, fd := range b.fds {
		names, fds = append(names, name), append(fds, fd)
	}
	return names, fds
}

// spawn starts a command in the box.
func (b *box) spawn(d *daemon, kind wire.Kind, c command) wire.Message {
	b.t.Helper()
	j, err := json.Marshal(c)
	ck(b.t, err)
	memfd, err := linux.SealedMemfd("command", j)
	ck(b.t, err)
	defer unix.Close(memfd)
	names, fds := b.named()
	out, errs := b.fds[wire.FdStdout], b.fds[wire.FdStderr]
	stdio := [3]int{b.read, out, errs}
	if b.out[1] != 0 {
		stdio = b.out
	}
	p := d.ask(&wire.Spawn{ID: b.id, Kind: kind, ProgramFds: 3, Names: names},
		append([]int{memfd, stdio[0], stdio[1], stdio[2]}, fds...)...)
	if m, ok := p.Message.(*wire.Spawned); ok {
		b.pid = m.Pid
		b.fds[wire.FdPidfd] = p.Fds[0]
	}
	return p.Message
}

// write starts the writer of numbered lines.
func (b *box) write(d *daemon, env ...string) {
	b.t.Helper()
	m := b.spawn(d, wire.KindContainer, command{
		Argv: []string{"/proc/self/exe"}, Env: append([]string{"SLIPWAY_TEST_ROLE=writer"}, env...),
	})
	if _, ok := m.(*wire.Spawned); !ok {
		b.t.Fatalf("spawn: %+v", m)
	}
}

// sh runs a shell command line in the box.
func (b *box) sh(d *daemon, kind wire.Kind, line string) {
	b.t.Helper()
	if m, ok := b.spawn(d, kind, command{Argv: []string{"/bin/sh", "-c", line}}).(*wire.Spawned); !ok {
		b.t.Fatalf("spawn: %+v", m)
	}
}

// watch hands the box to a keeper that did not start it.
func (b *box) watch(d *daemon) {
	b.t.Helper()
	names, fds := b.named()
	d.must(&wire.Watch{ID: b.id, Kind: wire.KindContainer, Pid: b.pid, Names: names}, fds...)
}

// stop ends the writer.
func (b *box) stop() {
	unix.Close(b.stdin)
	b.stdin = -1
}
