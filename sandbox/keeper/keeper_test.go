package keeper

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
	"slipway/sandbox/wire"
)

func record(t testing.TB, b *box) *wire.Exit {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir, wire.ExitFile))
	ck(t, err)
	e := &wire.Exit{}
	ck(t, e.FromRecord(data))
	return e
}

func TestContainerToItsEnd(t *testing.T) {
	dir := t.TempDir()
	socket, _ := startKeeper(t, dir)
	d, _, _ := connect(t, socket)
	b := newBox(t, dir, "c1")
	b.sh(d, wire.KindContainer, "echo out; echo err >&2; printf 'no end'; exit 5")
	e := d.ended("c1")
	if e.Code != 5 || e.Signal != 0 || e.Unknown || e.OOM || e.Unrecorded || e.FinishedAt == 0 {
		t.Errorf("exit %+v", e)
	}
	if r := record(t, b); r.Code != 5 || r.FinishedAt != e.FinishedAt {
		t.Errorf("record %+v", r)
	}
	if s := contents(t, b.log()); s != [2]string{"out\nno end\n", "err\n"} {
		t.Errorf("log %q", s)
	}
	if m, ok := b.spawn(d, wire.KindContainer, command{Argv: []string{"/bin/true"}}).(*wire.Failed); !ok || m.Errno != int(unix.EEXIST) {
		t.Errorf("second start of an id: %+v", m)
	}
	d.must(&wire.Drop{ID: "c1"})
	d.must(&wire.Drop{ID: "c1"})
	d2 := newBox(t, dir, "c2")
	m, ok := d2.spawn(d, wire.KindContainer, command{Argv: []string{"/no/such/file"}}).(*wire.Failed)
	if !ok || m.Index != 3 || m.Errno != int(unix.ENOENT) {
		t.Errorf("failing start: %+v", m)
	}
}

func TestKilledBySignal(t *testing.T) {
	dir := t.TempDir()
	socket, _ := startKeeper(t, dir)
	d, _, _ := connect(t, socket)
	b := newBox(t, dir, "c1")
	oom := filepath.Join(b.dir, "events")
	ck(t, os.WriteFile(oom, []byte("low 0\noom 1\noom_kill 1\n"), 0o600))
	fd, err := unix.Open(oom, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	ck(t, err)
	b.fds[wire.FdOOM] = fd
	b.sh(d, wire.KindContainer, "kill -9 $$")
	if e := d.ended("c1"); e.Code != 137 || e.Signal != 9 || e.OOM {
		t.Errorf("killed, counter the same: %+v", e)
	}
	c := newBox(t, dir, "c2")
	c.fds[wire.FdOOM], err = unix.Dup(fd)
	ck(t, err)
	c.sh(d, wire.KindContainer, "echo oom_kill 2 > "+oom+"; kill -9 $$")
	if e := d.ended("c2"); e.Code != 137 || !e.OOM || !record(t, c).OOM {
		t.Errorf("killed, counter grown: %+v", e)
	}
}

// TestExecLeavesNoZombie: an exec is reaped at once and told with its own id.
func TestExecLeavesNoZombie(t *testing.T) {
	dir := t.TempDir()
	socket, _ := startKeeper(t, dir)
	d, _, _ := connect(t, socket)
	b := newBox(t, dir, "x1")
	for _, name := range []string{wire.FdRecord, wire.FdLog, wire.FdStageR, wire.FdStageW} {
		unix.Close(b.fds[name])
		delete(b.fds, name)
	}
	stdout := b.fds[wire.FdStdout]
	b.sh(d, wire.KindExec, "exit 3")
	if e := d.ended("x1"); e.Code != 3 || e.Kind != wire.KindExec {
		t.Errorf("exit %+v", e)
	}
	if err := unix.Kill(b.pid, 0); err != unix.ESRCH {
		t.Errorf("the exec is still there: %v", err)
	}
	_ = stdout
}

// TestLosslessUnderKillOfKeeper kills the keeper again and again under a writer at
// full speed: every line is in the log once, and the exit code is true.
func TestLosslessUnderKillOfKeeper(t *testing.T) {
	for _, reap := range []string{"daemon records", "daemon only reaps"} {
		t.Run(reap, func(t *testing.T) {
			dir := t.TempDir()
			socket, p := startKeeper(t, dir)
			d, _, _ := connect(t, socket)
			b := newBox(t, dir, "c1")
			b.write(d, "SLIPWAY_TEST_LINE=40")
			for range 40 {
				time.Sleep(time.Duration(rand.IntN(15)) * time.Millisecond)
				ck(t, p.Kill())
				_, _ = p.Wait()
				socket, p = startKeeper(t, dir)
				d, _, _ = connect(t, socket)
				b.watch(d)
			}
			b.stop()
			standIn(t, b, reap == "daemon records")
			e := d.ended("c1")
			// What nobody wrote down before it was reaped only the kernel can tell.
			lost := reap == "daemon only reaps" && !tellsExits(t)
			if e.Code != 7 && !lost || e.Unknown != lost || e.Unrecorded {
				t.Errorf("exit %+v", e)
			}
			if r := record(t, b); r.Code != 7 && !lost || r.Unknown != lost {
				t.Errorf("record %+v", r)
			}
			t.Logf("%d lines", whole(t, b.log()))
		})
	}
}

// tellsExits: the kernel tells the exit code of a process that another reaped
// (Linux 6.15).
func tellsExits(t *testing.T) bool {
	t.Helper()
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	ck(t, err)
	defer unix.Close(self)
	_, _, err = linux.LastExit(self)
	return err == nil
}

// standIn does what a daemon does for its orphan: record the end, then reap.
func standIn(t testing.TB, b *box, records bool) {
	t.Helper()
	pidfd := b.fds[wire.FdPidfd]
	waitFor(t, "end of the writer", func() bool { _, ok, err := linux.PeekExit(pidfd); return ok || err != nil })
	how, ok, err := linux.PeekExit(pidfd)
	if err != nil || !ok {
		t.Fatalf("peek: %v", err)
	}
	if records {
		e := wire.Exit{Code: how.Code, Signal: how.Signal, FinishedAt: time.Now().UnixNano()}
		ck(t, linux.LinkFile(b.fds[wire.FdRecord], wire.ExitFile, "daemon", e.Record()))
	}
	_, _, err = linux.Reap(pidfd)
	ck(t, err)
}

// TestLosslessUnderKillOfDaemon: daemons come and go; the keeper notices nothing
// but gives everything back.
func TestLosslessUnderKillOfDaemon(t *testing.T) {
	dir := t.TempDir()
	socket, _ := startKeeper(t, dir)
	d, _, _ := connect(t, socket)
	b := newBox(t, dir, "c1")
	b.write(d, "SLIPWAY_TEST_PAUSE_US=50", "SLIPWAY_TEST_LINE=200")
	for range 30 {
		time.Sleep(time.Duration(rand.IntN(5)) * time.Millisecond)
		ck(t, d.conn.Close())
		var held map[string]*wire.Held
		var fds map[string]map[string]int
		d, held, fds = connect(t, socket)
		if h := held["c1"]; h == nil || h.Pid != b.pid || len(fds["c1"]) != len(b.fds) {
			t.Fatalf("given back: %+v %v", h, fds)
		}
		wire.CloseAll(values(fds["c1"]))
	}
	ck(t, d.conn.Close()) // the end comes while no daemon is there
	b.stop()
	waitFor(t, "exit.json", func() bool { _, err := os.Stat(filepath.Join(b.dir, wire.ExitFile)); return err == nil })
	d, held, fds := connect(t, socket)
	wire.CloseAll(values(fds["c1"]))
	e := held["c1"].Exit
	if e == nil {
		e = d.ended("c1")
	}
	if e.Code != 7 || e.Unknown {
		t.Errorf("exit %+v", e)
	}
	t.Logf("%d lines", whole(t, b.log()))
	d.must(&wire.Drop{ID: "c1"})
	ck(t, d.conn.Close())
	_, held, _ = connect(t, socket)
	if len(held) != 0 {
		t.Errorf("held after drop: %v", held)
	}
}

func values(m map[string]int) (fds []int) {
	for _, fd := range m {
		fds = append(fds, fd)
	}
	return fds
}

// TestReopenUnderLoad swaps the log file under a writer; nothing falls between.
func TestReopenUnderLoad(t *testing.T) {
	dir := t.TempDir()
	socket, _ := startKeeper(t, dir)
	d, _, _ := connect(t, socket)
	b := newBox(t, dir, "c1")
	b.write(d, "SLIPWAY_TEST_PAUSE_US=20", "SLIPWAY_TEST_LINE=100")
	var files []string
	for i := range 50 {
		time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond)
		old := b.log() + "." + string(rune('A'+i/26)) + string(rune('a'+i%26))
		ck(t, os.Rename(b.log(), old))
		files = append(files, old)
		fd, err := unix.Open(b.log(), unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
		ck(t, err)
		d.must(&wire.Reopen{ID: "c1"}, fd)
		unix.Close(fd)
	}
	b.stop()
	if e := d.ended("c1"); e.Code != 7 {
		t.Errorf("exit %+v", e)
	}
	t.Logf("%d lines in %d files", whole(t, append(files, b.log())...), len(files)+1)
}

// TestNothingToHold: a keeper without daemon and without anything to hold ends,
// one that holds does not.
func TestNothingToHold(t *testing.T) {
	dir := t.TempDir()
	socket, p := startKeeper(t, dir, "SLIPWAY_TEST_LINGER=2s")
	d, _, _ := connect(t, socket)
	b := newBox(t, dir, "c1")
	b.write(d, "SLIPWAY_TEST_PAUSE_US=1000")
	d.must(&wire.Bye{})
	ck(t, d.conn.Close())
	time.Sleep(3 * time.Second) // more than it lingers
	d, held, _ := connect(t, socket)
	if held["c1"] == nil {
		t.Fatalf("held %v", held)
	}
	ck(t, d.conn.Close())
	b.stop()
	st, err := p.Wait()
	if err != nil || st.ExitCode() != 0 {
		t.Errorf("keeper: %v %v", st, err)
	}
	if r := record(t, b); r.Code != 7 {
		t.Errorf("record %+v", r)
	}
}

// TestUpgrade replaces the keeper's program under a running container.
func TestUpgrade(t *testing.T) {
	dir := t.TempDir()
	socket, p := startKeeper(t, dir)
	d, _, _ := connect(t, socket)
	b := newBox(t, dir, "c1")
	b.write(d, "SLIPWAY_TEST_PAUSE_US=50", "SLIPWAY_TEST_LINE=60")
	self, err := os.ReadFile("/proc/self/exe")
	ck(t, err)
	for range 5 {
		time.Sleep(20 * time.Millisecond)
		memfd, err := linux.SealedMemfd("slipway-keeper", self)
		ck(t, err)
		a := d.ask(&wire.Upgrade{Build: "second"}, memfd)
		unix.Close(memfd)
		if m, ok := a.Message.(*wire.Upgraded); !ok || m.Build != "second" {
			t.Fatalf("upgrade: %+v", a.Message)
		}
	}
	if a, ok := d.ask(&wire.Upgrade{Build: "bad"}, b.fds[wire.FdRecord]).Message.(*wire.Failed); !ok {
		t.Fatalf("upgrade to a directory: %+v", a)
	}
	b2 := newBox(t, dir, "c2")
	b2.sh(d, wire.KindContainer, "exit 9") // it still works
	if e := d.ended("c2"); e.Code != 9 {
		t.Errorf("exit %+v", e)
	}
	b.stop()
	if e := d.ended("c1"); e.Code != 7 || e.Unknown {
		t.Errorf("exit %+v", e)
	}
	t.Logf("%d lines", whole(t, b.log()))
	if err := p.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the keeper is another process: %v", err)
	}
}

// TestPodInSeveralStarts: a pod's second start adds to what the first brought;
// one that fails takes nothing away.
func TestPodInSeveralStarts(t *testing.T) {
	dir := t.TempDir()
	socket, _ := startKeeper(t, dir)
	d, _, _ := connect(t, socket)
	null, err := os.Open(os.DevNull)
	ck(t, err)
	defer null.Close()
	n := int(null.Fd())
	d.must(&wire.Hold{ID: "pod", Kind: wire.KindPod, Names: []string{"ipc"}}, n)
	memfd, err := linux.SealedMemfd("command", []byte(`{"Argv":["/none"]}`))
	ck(t, err)
	defer unix.Close(memfd)
	if p := d.ask(&wire.Spawn{ID: "pod", Kind: wire.KindPod, ProgramFds: 3, Want: []string{"net"}}, memfd, n, n, n); p.Fds != nil {
		t.Errorf("answer %+v", p)
	}
	ended, err := linux.SealedMemfd("command", []byte(`{"Argv":["/bin/true"],"Ends":true}`))
	ck(t, err)
	defer unix.Close(ended)
	p := d.ask(&wire.Spawn{ID: "pod", Kind: wire.KindPod, ProgramFds: 3, Want: []string{"net"}}, ended, n, n, n)
	if m, ok := p.Message.(*wire.Spawned); !ok || m.Pid != 0 || len(p.Fds) != 1 {
		t.Errorf("answer %+v", p.Message)
	}
	wire.CloseAll(p.Fds)
	ck(t, d.conn.Close())
	_, held, _ := connect(t, socket)
	if h := held["pod"]; h == nil || len(h.Names) != 2 {
		t.Errorf("held %+v", h)
	}
}
