package wire_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway/sandbox/wire"
)

func pair(t *testing.T) (a, b *wire.Conn) {
	t.Helper()
	a, b, err := wire.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	end := time.Now().Add(10 * time.Second)
	_ = b.SetReadDeadline(end)
	_ = a.SetWriteDeadline(end)
	return a, b
}

// openFds counts this process's descriptors.
func openFds(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

func TestMessagesCross(t *testing.T) {
	a, b := pair(t)
	for i, m := range []wire.Message{
		&wire.Hello{Version: 1},
		&wire.Spawn{ID: "c", Kind: wire.KindPod, ProgramFds: 2, Names: []string{"x"}, Want: []string{"net"}},
		&wire.Failed{Index: -1, Step: "mount", Path: "/proc", Errno: int(syscall.EACCES)},
		&wire.Exit{ID: "c", Kind: wire.KindContainer, Code: 137, Signal: 9, OOM: true, FinishedAt: 5},
		&wire.OK{},
	} {
		if err := a.Send(uint64(i), m); err != nil {
			t.Fatal(err)
		}
		p, err := b.Recv()
		if err != nil || p.Seq != uint64(i) || !reflect.DeepEqual(p.Message, m) {
			t.Errorf("sent %+v, got %+v, %v", m, p, err)
		}
	}
	a.Close()
	if _, err := b.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after close: %v", err)
	}
}

func TestManyDescriptors(t *testing.T) {
	a, b := pair(t)
	for _, n := range []int{1, 252, 253, 254, 506, 507, 600} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		before := openFds(t)
		fds := make([]int, n)
		for i := range fds {
			fds[i] = int(r.Fd())
		}
		fds[n-1] = int(w.Fd()) // the last one is told apart
		sent := make(chan error, 1)
		go func() { sent <- errors.Join(a.Send(7, &wire.Drop{ID: "many"}, fds...), a.Send(8, &wire.OK{})) }()
		p, err := b.Recv()
		if err != nil || len(p.Fds) != n || p.Seq != 7 {
			t.Fatalf("%d descriptors: got %d, %v", n, len(p.Fds), err)
		}
		if _, err := syscall.Write(p.Fds[n-1], []byte("x")); err != nil {
			t.Errorf("%d descriptors: out of order: %v", n, err)
		}
		if flags, _, _ := syscall.Syscall(syscall.SYS_FCNTL, uintptr(p.Fds[0]), syscall.F_GETFD, 0); flags&syscall.FD_CLOEXEC == 0 {
			t.Error("descriptor would survive execve")
		}
		wire.CloseAll(p.Fds)
		if p, err := b.Recv(); err != nil || p.Seq != 8 || len(p.Fds) != 0 {
			t.Errorf("the next message: %+v, %v", p, err)
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
		if after := openFds(t); after != before {
			t.Errorf("%d descriptors: %d open before, %d after", n, before, after)
		}
		r.Close()
		w.Close()
	}
}

// raw sends bytes and descriptors past the encoder.
func raw(t *testing.T, c *wire.Conn, b []byte, fds ...int) {
	t.Helper()
	var oob []byte
	if len(fds) > 0 {
		oob = syscall.UnixRights(fds...)
	}
	if err := c.Fd(func(fd int) {
		if err := syscall.Sendmsg(fd, b, oob, nil, 0); err != nil {
			t.Fatal(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// TestBadPackets: each is an error, and no descriptor stays behind.
func TestBadPackets(t *testing.T) {
	for name, c := range map[string]struct {
		packets []string
		fds     int
		want    error
	}{
		"no JSON":                  {[]string{"{"}, 1, wire.ErrMalformed},
		"unknown type":             {[]string{`{"type":"reboot","fds":1}`}, 1, wire.ErrMalformed},
		"fewer fds than said":      {[]string{`{"type":"ok","fds":2}`}, 1, wire.ErrMalformed},
		"none of those said":       {[]string{`{"type":"ok","fds":2}`}, 0, wire.ErrMalformed},
		"more fds than said":       {[]string{`{"type":"ok"}`}, 2, wire.ErrMalformed},
		"negative":                 {[]string{`{"type":"ok","fds":-1}`}, 1, wire.ErrMalformed},
		"stray continuation":       {[]string{`{"type":"more"}`}, 1, wire.ErrMalformed},
		"stray, says what it has":  {[]string{`{"type":"more","fds":1}`}, 1, wire.ErrMalformed},
		"too long":                 {[]string{`{"type":"ok","x":"` + strings.Repeat("x", wire.MaxPacket) + `"}`}, 1, wire.ErrTruncated},
		"body of another kind":     {[]string{`{"type":"drop","body":[1]}`}, 0, wire.ErrMalformed},
		"another message between":  {[]string{`{"type":"ok","seq":1,"fds":300}`, `{"type":"ok","seq":1}`}, 253, wire.ErrMalformed},
		"continuation of another":  {[]string{`{"type":"ok","seq":1,"fds":300}`, `{"type":"more","seq":2}`}, 253, wire.ErrMalformed},
		"continuation without fds": {[]string{`{"type":"ok","seq":1,"fds":300}`, `{"type":"more","seq":1}`}, 253, wire.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			before := openFds(t)
			fds := make([]int, c.fds) // of stdin
			raw(t, a, []byte(c.packets[0]), fds...)
			for _, p := range c.packets[1:] {
				raw(t, a, []byte(p))
			}
			if p, err := b.Recv(); !errors.Is(err, c.want) {
				t.Errorf("got %+v, %v", p, err)
			}
			if after := openFds(t); after != before {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
		})
	}
}

// TestTruncatedControl: a receiver out of descriptors gets an error, not fewer descriptors.
func TestTruncatedControl(t *testing.T) {
	a, b := pair(t)
	fds := make([]int, 40)
	if err := a.Send(1, &wire.OK{}, fds...); err != nil {
		t.Fatal(err)
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	low := syscall.Rlimit{Cur: uint64(openFds(t) + 10), Max: old.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	_, err := b.Recv()
	if e := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); e != nil {
		t.Fatal(e)
	}
	if !errors.Is(err, wire.ErrTruncated) {
		t.Errorf("got %v", err)
	}
}

func TestSocketByName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if _, err := wire.Dial(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no socket: %v", err)
	}
	for range 2 { // the second replaces the first
		fd, err := wire.Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := wire.Dial(path)
		if err != nil {
			t.Fatal(err)
		}
		if uid, err := c.PeerUID(); err != nil || int(uid) != os.Geteuid() {
			t.Errorf("peer %d, %v", uid, err)
		}
		c.Close()
		syscall.Close(fd)
	}
	if _, err := wire.Dial(path); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestErrorUnwraps(t *testing.T) {
	f := wire.Refuse("x", &wire.Error{Step: "mount", Path: "/proc", Errno: syscall.ENOENT})
	err := error(f.Error())
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != "mount /proc: no such file or directory" {
		t.Errorf("%v", err)
	}
	if f := wire.Refuse("x", io.EOF); f.Errno != int(syscall.EIO) || f.Step != "x" || f.Index != -1 {
		t.Errorf("%+v", f)
	}
}

func TestExitRecord(t *testing.T) {
	e := wire.Exit{ID: "c", Code: 137, Signal: 9, OOM: true, FinishedAt: 12, Reason: "r"}
	const want = `{"version":1,"code":137,"signal":9,"oom":true,"unknown":false,"finishedAt":12,"reason":"r"}` + "\n"
	if got := string(e.Record()); got != want {
		t.Errorf("record %s", got)
	}
	back := wire.Exit{ID: "c"}
	if err := back.FromRecord([]byte(want)); err != nil || back != e {
		t.Errorf("%+v, %v", back, err)
	}
	for _, bad := range []string{"", "{", `{"version":2}`, `{"version":1,"code":"x"}`} {
		if err := back.FromRecord([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// FuzzDecode: any bytes are decoded or refused, and what was decoded encodes again.
func FuzzDecode(f *testing.F) {
	for _, m := range []wire.Message{
		&wire.Welcome{Version: 1, Pid: 3}, &wire.Spawn{ID: "a", Names: []string{"b"}}, &wire.Exit{ID: "c", Code: 1}, &wire.Ping{},
	} {
		b, err := wire.Encode(9, m, 2)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"type":"held","body":{"exit":{}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		seq, m, fds, err := wire.Decode(b)
		if err != nil {
			if !errors.Is(err, wire.ErrMalformed) {
				t.Fatalf("%v", err)
			}
			return
		}
		again, err := wire.Encode(seq, m, fds)
		if errors.Is(err, wire.ErrTooLarge) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		s, m2, n, err := wire.Decode(again)
		if err != nil || s != seq || n != fds || !reflect.DeepEqual(m, m2) {
			t.Fatalf("%+v became %+v, %v", m, m2, err)
		}
	})
}
