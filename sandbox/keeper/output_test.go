package keeper

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
	"slipway/sandbox/wire"
)

// smallDisk returns a directory fd on a tmpfs that no other mount namespace sees.
func smallDisk(t *testing.T, size string) int {
	t.Helper()
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	ck(t, err)
	defer unix.Close(fs)
	ck(t, unix.FsconfigSetString(fs, "size", size))
	ck(t, unix.FsconfigCreate(fs))
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	ck(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// TestFullDisk: a container never waits for a full disk; what is lost is
// counted, and one line says so when there is space again.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	socket, _ := startKeeper(t, dir)
	d, _, _ := connect(t, socket)
	disk := smallDisk(t, "1m")
	b := newBox(t, dir, "c1")
	unix.Close(b.fds[wire.FdLog])
	log, err := unix.Openat(disk, "0.log", unix.O_RDWR|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	ck(t, err)
	b.fds[wire.FdLog] = log
	ballast, err := unix.Openat(disk, "ballast", unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	ck(t, err)
	defer unix.Close(ballast)
	ck(t, unix.Fallocate(ballast, 0, 0, 512<<10))
	// 3000 numbered lines of 1000 bytes overflow the disk; then the test makes
	// space and lets the container go on.
	fifo := filepath.Join(b.dir, "full")
	ck(t, unix.Mkfifo(fifo, 0o600))
	b.sh(d, wire.KindContainer, fmt.Sprintf(`i=0; x=$(printf '%%01000d' 0); while [ $i -lt 3000 ]; do i=$((i+1)); echo "$i $x"; done; echo full > %s; read a; echo after; exit 6`, fifo))
	f, err := os.OpenFile(fifo, os.O_RDWR, 0)
	ck(t, err)
	defer f.Close()
	ck(t, f.SetDeadline(time.Now().Add(30*time.Second)))
	buf := make([]byte, 10)
	_, err = f.Read(buf)
	ck(t, err) // the container did not stop at the full disk
	waitFor(t, "the FIFO is empty", func() bool { return queued(b.fds[wire.FdStdout]) == 0 && queued(b.fds[wire.FdStageR]) == 0 })
	ck(t, unix.Ftruncate(ballast, 0))
	time.Sleep(5 * time.Millisecond)
	_, err = unix.Write(b.stdin, []byte("\n"))
	ck(t, err)
	e := d.ended("c1")
	if e.Code != 6 || e.Lost == 0 {
		t.Errorf("exit %+v", e)
	}
	data, err := linux.ReadAt(log, 2<<20)
	ck(t, err)
	name := filepath.Join(dir, "copy")
	ck(t, os.WriteFile(name, data, 0o600))
	s := contents(t, name)
	m := regexp.MustCompile(`^slipway: (\d+) bytes dropped: no space left on device\n$`).FindStringSubmatch(s[1])
	if m == nil || m[1] != fmt.Sprint(e.Lost) {
		t.Errorf("marker %q, lost %d", s[1], e.Lost)
	}
	const all = 3000*1001 + len("after\n")
	want := all
	for i := 1; i <= 3000; i++ {
		want += len(fmt.Sprint(i)) + 1
	}
	if !strings.HasSuffix(s[0], "after\n") || len(s[0])+int(e.Lost) != want {
		// The parts before the gap may have been closed by an empty line end of ours.
		if len(s[0])+int(e.Lost) != want+1 {
			t.Errorf("%d bytes in the log, %d lost, %d written; ends %q", len(s[0]), e.Lost, want, s[0][max(0, len(s[0])-20):])
		}
	}
}

// logged looks for text in a log that is being written: its last line may be half there.
func logged(t *testing.T, b *box, text string) bool {
	t.Helper()
	data, err := os.ReadFile(b.log())
	ck(t, err)
	return bytes.Contains(data, []byte(text))
}

// TestTerminal: a pty in place of the FIFOs, pumped by the same code.
func TestTerminal(t *testing.T) {
	dir := t.TempDir()
	socket, _ := startKeeper(t, dir)
	d, _, _ := connect(t, socket)
	b := newBox(t, dir, "c1")
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	ck(t, err)
	ck(t, unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0))
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.Fatal(errno)
	}
	for _, s := range []string{wire.FdStdout, wire.FdStderr} {
		unix.Close(b.fds[s])
		delete(b.fds, s)
	}
	b.fds[wire.FdMaster] = master
	slave := int(peer)
	b.out = [3]int{slave, slave, slave}
	// Twice nobody has the terminal open for a while; the rest must still come.
	b.sh(d, wire.KindContainer, `tty=$(readlink /proc/self/fd/0); echo one; exec <&- >&- 2>&-; sleep 0.3; exec <>$tty >&0 2>&0; i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo "line $i"; done; read a; echo "got $a" >&2; exit 4`)
	unix.Close(slave)
	waitFor(t, "lines in the log", func() bool { return logged(t, b, "line 2000\r\n") })
	_, err = unix.Write(master, []byte("typed\n"))
	ck(t, err)
	if e := d.ended("c1"); e.Code != 4 {
		t.Errorf("exit %+v", e)
	}
	s := contents(t, b.log())
	want := "one\r\n"
	for i := range 2000 {
		want += fmt.Sprintf("line %d\r\n", i+1)
	}
	want += "typed\r\ngot typed\r\n" // the terminal echoes
	if s[0] != want || s[1] != "" {
		t.Errorf("log of %d bytes instead of %d: ends %q", len(s[0]), len(want), s[0][max(0, len(s[0])-60):])
	}
}

// TestAttach: an attacher gets a copy; one that does not read is cut, and the
// log does not wait for it.
func TestAttach(t *testing.T) {
	dir := t.TempDir()
	socket, _ := startKeeper(t, dir)
	d, _, _ := connect(t, socket)
	b := newBox(t, dir, "c1")
	b.sh(d, wire.KindContainer, `read a; echo first; echo e >&2; read a; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo $i; done; exit 0`)
	r, w, err := os.Pipe()
	ck(t, err)
	_, err = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 1<<20) // holds all: on a busy machine our reader is slow, too
	ck(t, err)
	slowR, slowW, err := os.Pipe()
	ck(t, err)
	defer slowR.Close()
	d.must(&wire.AttachOut{ID: "c1", Attacher: "a", Stdout: true}, int(w.Fd()))
	d.must(&wire.AttachOut{ID: "c1", Attacher: "slow", Stdout: true, Stderr: true}, int(slowW.Fd()))
	d.must(&wire.AttachOut{ID: "c1", Attacher: "gone", Stdout: true}, int(slowW.Fd()))
	d.must(&wire.DetachOut{ID: "c1", Attacher: "gone"})
	d.must(&wire.DetachOut{ID: "c1", Attacher: "never"})
	w.Close()
	slowW.Close()
	got := make(chan []byte)
	go func() {
		var all bytes.Buffer
		_, _ = all.ReadFrom(r)
		got <- all.Bytes()
	}()
	_, err = unix.Write(b.stdin, []byte("\n"))
	ck(t, err)
	waitFor(t, "first lines", func() bool { return logged(t, b, " first\n") && logged(t, b, " e\n") })
	_, err = unix.Write(b.stdin, []byte("\n"))
	ck(t, err)
	if e := d.ended("c1"); e.Code != 0 || e.Lost != 0 {
		t.Errorf("exit %+v", e)
	}
	want := "first\n"
	for i := range 20000 {
		want += fmt.Sprintln(i + 1)
	}
	if s := contents(t, b.log()); s[0] != want {
		t.Errorf("log has %d bytes", len(s[0]))
	}
	select {
	case out := <-got: // the pipe ends with the container
		if string(out) != want {
			t.Errorf("attacher got %d bytes instead of %d", len(out), len(want))
		}
	case <-time.After(30 * time.Second):
		t.Error("the attacher's pipe is still open")
	}
	waitFor(t, "the slow one is cut", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.cut) == 1 && d.cut[0] == "slow"
	})
}

// TestNoLog: without a log the output is read all the same, and a log can come later.
func TestNoLog(t *testing.T) {
	dir := t.TempDir()
	socket, _ := startKeeper(t, dir)
	d, _, _ := connect(t, socket)
	b := newBox(t, dir, "c1")
	log := b.fds[wire.FdLog]
	delete(b.fds, wire.FdLog)
	b.sh(d, wire.KindContainer, `head -c 300000 /dev/zero; read a; echo kept; exit 1`)
	waitFor(t, "output is thrown away", func() bool { return queued(b.fds[wire.FdStdout]) == 0 })
	d.must(&wire.Reopen{ID: "c1"}, log)
	unix.Close(log)
	_, err := unix.Write(b.stdin, []byte("\n"))
	ck(t, err)
	if e := d.ended("c1"); e.Code != 1 {
		t.Errorf("exit %+v", e)
	}
	if s := contents(t, b.log()); !strings.HasSuffix(s[0], "kept\n") {
		t.Errorf("log %.100q", s[0])
	}
}

// TestReopenAnswerLost: the keeper is killed around a Reopen; the next one is
// told of both files and goes on in the right one.
func TestReopenAnswerLost(t *testing.T) {
	dir := t.TempDir()
	socket, p := startKeeper(t, dir)
	d, _, _ := connect(t, socket)
	b := newBox(t, dir, "c1")
	b.write(d, "SLIPWAY_TEST_LINE=40")
	files := []string{b.log()}
	for i := range 30 {
		next := fmt.Sprint(b.log(), ".", i)
		fd, err := unix.Open(next, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
		ck(t, err)
		files = append(files, next)
		b.fds[wire.FdLogNext] = fd
		time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond)
		ck(t, d.conn.Send(1000, &wire.Reopen{ID: "c1"}, fd))
		time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
		ck(t, p.Kill())
		_, _ = p.Wait()
		socket, p = startKeeper(t, dir)
		d, _, _ = connect(t, socket)
		b.watch(d)
		unix.Close(b.fds[wire.FdLog])
		b.fds[wire.FdLog] = fd
		delete(b.fds, wire.FdLogNext)
	}
	b.stop()
	standIn(t, b, true)
	if e := d.ended("c1"); e.Code != 7 {
		t.Errorf("exit %+v", e)
	}
	t.Logf("%d lines", whole(t, files...))
}

// TestOrphansAreReaped: what a container leaves behind in the keeper's PID
// namespace becomes its child and is taken away.
func TestOrphansAreReaped(t *testing.T) {
	dir := t.TempDir()
	socket, p := startKeeper(t, dir)
	d, _, _ := connect(t, socket)
	b := newBox(t, dir, "c1")
	b.sh(d, wire.KindContainer, `for i in 1 2 3 4 5; do (sleep 0.05 & sleep 0.2 &) ; done; exit 0`)
	if e := d.ended("c1"); e.Code != 0 {
		t.Errorf("exit %+v", e)
	}
	children := fmt.Sprintf("/proc/%d/task", p.Pid)
	waitFor(t, "no children", func() bool {
		n := 0
		tasks, err := os.ReadDir(children)
		ck(t, err)
		for _, task := range tasks {
			c, err := os.ReadFile(filepath.Join(children, task.Name(), "children"))
			if err == nil {
				n += len(bytes.Fields(c))
			}
		}
		return n == 0
	})
}

// TestNothingStays: after its containers are dropped a keeper has the
// descriptors that it began with.
func TestNothingStays(t *testing.T) {
	dir := t.TempDir()
	socket, p := startKeeper(t, dir)
	d, _, _ := connect(t, socket)
	count := func() int {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Pid))
		ck(t, err)
		return len(fds)
	}
	round := func(i int) {
		b := newBox(t, dir, fmt.Sprint("c", i))
		b.sh(d, wire.KindContainer, "echo x; exit 0")
		d.ended(b.id)
		d.must(&wire.Drop{ID: b.id})
		r, w, err := os.Pipe()
		ck(t, err)
		for range 2 {
			d.must(&wire.Hold{ID: "pod", Kind: wire.KindPod, Names: []string{"net", "ipc"}}, int(r.Fd()), int(w.Fd()))
		}
		d.must(&wire.Drop{ID: "pod"})
		if _, ok := b.spawn(d, wire.KindExec, command{Argv: []string{"/none"}}).(*wire.Failed); !ok {
			t.Error("an exec of nothing started")
		}
		r.Close()
		w.Close()
	}
	round(0)
	before := count()
	for i := range 20 {
		round(i + 1)
	}
	defer func() {
		if t.Failed() {
			fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.Pid))
			for _, f := range fds {
				l, _ := os.Readlink(f)
				t.Log(filepath.Base(f), l)
			}
		}
	}()
	waitFor(t, fmt.Sprint("back at ", before, " descriptors"), func() bool { return count() <= before+2*sparePumps })
	runtime.KeepAlive(d)
}
