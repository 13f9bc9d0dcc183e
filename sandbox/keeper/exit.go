package keeper

import (
	"errors"
	"io/fs"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
	"slipway/sandbox/wire"
)

// expect arms the pidfd of an item: its end is handled once.
func (k *Keeper) expect(it *item) error {
	pidfd := it.fd(wire.FdPidfd)
	return k.loop.add(pidfd, func() {
		if !ended(pidfd) { // told for an earlier bearer of the number
			k.loop.again(pidfd)
			return
		}
		if k.use(it) {
			k.work()
			go func() {
				defer k.release(it)
				defer k.rest()
				k.over(it)
			}()
		}
	})
}

// over handles the end of a process. For a container the order is: peek, OOM
// counter, log, record, reap, message; so what is told is already on disk, and
// whoever reads the log after the message reads all of it.
func (k *Keeper) over(it *item) {
	e := &wire.Exit{ID: it.id, Kind: it.kind}
	record := -1
	if it.kind == wire.KindContainer {
		record = it.fd(wire.FdRecord)
	} else {
		// An exec that is not reaped holds up the end of its container.
		k.status(it, e, -1)
		_, _, _ = linux.Reap(it.fd(wire.FdPidfd))
	}
	if it.pump != nil {
		lost, whole := it.pump.drain(drainLimit)
		e.Lost = lost
		if !whole {
			k.log.Printf("log of %s: not all output was read within %v of its end", it.id, drainLimit)
		}
	}
	if it.kind == wire.KindContainer {
		k.status(it, e, record)
		e.OOM = e.OOM || e.Signal == int(syscall.SIGKILL) && k.oomGrew(it)
		e.Unrecorded = !writeExit(record, e)
		if e.Unrecorded {
			k.log.Printf("exit of %s could not be recorded", it.id)
		}
		_, _, _ = linux.Reap(it.fd(wire.FdPidfd))
	}
	if e.Dropped = it.kind == wire.KindExec; e.Dropped {
		k.remove(it) // only who asked for it wants to know
	} else {
		k.keepExit(it, e)
	}
	k.tell(e)
	k.sweep()
}

// keepExit remembers an end until Drop and lets go of what the process needed.
func (k *Keeper) keepExit(it *item, e *wire.Exit) {
	k.mu.Lock()
	defer k.mu.Unlock()
	it.exit = e
	k.loop.remove(it.fd(wire.FdPidfd))
}

// oomGrew reports whether the kernel has killed for want of memory since the start.
func (k *Keeper) oomGrew(it *item) bool {
	fd := it.fd(wire.FdOOM)
	return fd >= 0 && linux.OOMKills(fd) > it.oom
}

// status finds out how the process ended: as its parent, which a tracer can keep
// waiting (somebody runs strace on a container), else from the kernel once its
// parent has reaped it, else from the record of the daemon. When nobody knows it
// says so and invents nothing.
func (k *Keeper) status(it *item, e *wire.Exit, record int) {
	pidfd := it.fd(wire.FdPidfd)
	e.FinishedAt = time.Now().UnixNano()
	var how linux.Ended
	for end := time.Now().Add(foreignLimit); ; {
		var ok bool
		var err error
		if how, ok, err = linux.PeekExit(pidfd); ok && err == nil {
			break
		}
		if record >= 0 && readExit(record, e) {
			return
		}
		if how, ok, err = linux.LastExit(pidfd); ok && err == nil {
			break
		}
		if time.Now().After(end) {
			e.Unknown, e.Code, e.Reason = true, 255, "the process ended while nobody watched"
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	e.Code, e.Signal = how.Code, how.Signal
}

// writeExit writes exit.json, or takes over what somebody wrote who knew first.
func writeExit(record int, e *wire.Exit) bool {
	if record < 0 {
		return false
	}
	err := linux.LinkFile(record, wire.ExitFile, "keeper", e.Record())
	if errors.Is(err, fs.ErrExist) {
		return readExit(record, e)
	}
	return err == nil
}

// readExit reads exit.json; false when there is none yet.
func readExit(record int, e *wire.Exit) bool {
	b, err := linux.ReadFileAt(record, wire.ExitFile, wire.MaxExitFile)
	return err == nil && e.FromRecord(b) == nil
}

// sweep reaps orphans: processes that a container left behind in the keeper's
// PID namespace. A child is known (its end is being handled), just being
// started, or an orphan; while any is being started nothing can be told apart.
func (k *Keeper) sweep() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.starts == 0 {
		pid, ok, err := linux.PeekAnyExit()
		if err != nil || !ok || k.knows(pid) {
			return
		}
		if linux.ReapPid(pid) != nil {
			return
		}
	}
}

// knows reports whether a pid belongs to an item that has not been reaped. Under mu.
func (k *Keeper) knows(pid int) bool {
	for _, it := range k.items {
		if it.pid == pid && it.exit == nil {
			return true
		}
	}
	return false
}

// kill ends a process that was started for nobody, and waits for it a moment.
func kill(s Started) {
	if s.Pid == 0 {
		wire.CloseAll(s.Offered)
		return
	}
	_ = unix.PidfdSendSignal(s.Pidfd, unix.SIGKILL, nil, 0)
	for range 200 {
		if _, ok, err := linux.Reap(s.Pidfd); ok || err != nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	wire.CloseAll(append([]int{s.Pidfd}, s.Offered...))
}
