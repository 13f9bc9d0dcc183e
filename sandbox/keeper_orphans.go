package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"slipway/sandbox/linux"
	"slipway/sandbox/wire"
)

// orphanPause is how often orphans are looked at besides SIGCHLD, which the
// kernel merges and which may have come before there was a pidfd to look at.
const orphanPause = time.Second

// orphans does a parent's duty for processes whose keeper has died: they are
// our children when we were the keeper's ancestor. Only what is kept is looked
// at, by pidfd; the children of os/exec are reaped by those who started them.
func (l *link) orphans() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGCHLD)
	defer signal.Stop(c)
	t := time.NewTicker(orphanPause)
	defer t.Stop()
	for {
		select {
		case <-c:
		case <-t.C:
		case <-l.ctx.Done():
			return
		}
		for _, o := range l.orphaned() {
			l.bury(o)
		}
		l.reapStrays()
	}
}

// orphan is a process to look at, with descriptors of its own.
type orphan struct {
	id                 string
	pidfd, record, oom int
	base               uint64
}

// orphaned lists what may be our child.
func (l *link) orphaned() []orphan {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []orphan
	for _, k := range l.kept {
		if !k.orphan || k.pid == 0 || k.how != nil || k.exit != nil {
			continue
		}
		o := orphan{id: k.id, base: k.oom, record: -1, oom: -1}
		fd, ok := k.fds[wire.FdPidfd]
		if !ok {
			continue
		}
		if _, ok, err := linux.PeekExit(fd); err != nil || !ok {
			continue // it runs, or is not ours
		}
		var err error
		if o.pidfd, err = linux.Dup(fd); err != nil {
			continue
		}
		if fd, ok := k.fds[wire.FdRecord]; ok && k.kind == wire.KindContainer {
			o.record, _ = linux.Dup(fd)
		}
		if fd, ok := k.fds[wire.FdOOM]; ok {
			o.oom, _ = linux.Dup(fd)
		}
		list = append(list, o)
	}
	return list
}

// bury records the end of an orphan before it reaps it: a crash in between
// leaves a zombie that the next parent can still ask. The keeper drains the
// log, finds the record, and tells the end.
func (l *link) bury(o orphan) {
	defer func() {
		for _, fd := range []int{o.pidfd, o.record, o.oom} {
			if fd >= 0 {
				_ = linux.Close(fd)
			}
		}
	}()
	how, ok, err := linux.PeekExit(o.pidfd)
	if err != nil || !ok {
		return
	}
	e := wire.Exit{ID: o.id, Code: how.Code, Signal: how.Signal, FinishedAt: time.Now().UnixNano()}
	e.OOM = e.Signal == int(syscall.SIGKILL) && o.oom >= 0 && linux.OOMKills(o.oom) > o.base
	if o.record >= 0 && !recordExit(o.record, &e) {
		l.o.Log.Error("the end of a container could not be recorded", "id", o.id)
	}
	l.mu.Lock()
	if k := l.kept[o.id]; k != nil {
		k.how = &how
	}
	l.mu.Unlock()
	_, _, _ = linux.Reap(o.pidfd)
}

// recordExit writes exit.json unless somebody knew first.
func recordExit(dir int, e *wire.Exit) bool {
	err := linux.LinkFile(dir, wire.ExitFile, "daemon", e.Record())
	return err == nil || errors.Is(err, fs.ErrExist)
}

// reapStrays takes away zombies that came with a dead keeper and that nobody
// knows: a start that was under way, what a container left in the host's PID
// namespace. They are told from the children of os/exec by their session: the
// keeper and all below it have another one than ours.
func (l *link) reapStrays() {
	l.mu.Lock()
	alone := l.alone
	known := map[int]bool{}
	for _, k := range l.kept {
		known[k.pid] = true
	}
	l.mu.Unlock()
	if !alone {
		return
	}
	own, ok := processStat(os.Getpid())
	if !ok {
		return
	}
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue // a thread that ended
		}
		for _, field := range strings.Fields(string(b)) {
			pid, _ := strconv.Atoi(field)
			if st, ok := processStat(pid); ok && st.state == "Z" && st.session != own.session && !known[pid] {
				_ = linux.ReapPid(pid)
			}
		}
	}
}

type stat struct{ state, session string }

// processStat reads the state and the session of a process.
func processStat(pid int) (stat, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, false
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // the name may hold anything
	if len(f) < 4 {
		return stat{}, false
	}
	return stat{state: f[0], session: f[3]}, true
}
