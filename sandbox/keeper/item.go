package keeper

import (
	"maps"
	"slices"
	"syscall"

	"slipway/sandbox/wire"
)

// item is one held thing: descriptors by name, usually of one process. Keeper.mu
// guards all of it; the pump has a lock of its own inside.
type item struct {
	id   string
	kind wire.Kind
	pid  int
	oom  uint64 // OOM kills before the start
	fds  map[string]int
	exit *wire.Exit // how it ended, as it was told
	pump *pump      // nil without output

	users int  // goroutines that use the descriptors
	gone  bool // to be closed by the last user
}

// fd returns a descriptor by name, -1 when there is none.
func (it *item) fd(name string) int {
	if fd, ok := it.fds[name]; ok {
		return fd
	}
	return -1
}

// held describes an item for a daemon that connects. The descriptors are
// copies: they can be sent when the lock is not held any more.
func (it *item) held() (*wire.Held, []int) {
	h := &wire.Held{ID: it.id, Kind: it.kind, Pid: it.pid, OOM: it.oom, Exit: it.exit}
	var fds []int
	for name, fd := range it.fds {
		if c, err := duplicate(fd); err == nil {
			h.Names, fds = append(h.Names, name), append(fds, c)
		}
	}
	return h, fds
}

// use announces a user of an item's descriptors; false when it is being closed.
func (k *Keeper) use(it *item) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if it.gone {
		return false
	}
	it.users++
	return true
}

// release ends use. The last user of an item that is gone closes it.
func (k *Keeper) release(it *item) {
	k.mu.Lock()
	it.users--
	fds := k.closable(it)
	k.mu.Unlock()
	wire.CloseAll(fds)
}

// closable takes the descriptors out of an item that is gone and unused. Under mu.
func (k *Keeper) closable(it *item) []int {
	if !it.gone || it.users > 0 {
		return nil
	}
	fds := slices.Collect(maps.Values(it.fds))
	it.fds = nil
	if it.pump != nil {
		fds = append(fds, it.pump.takeAttached()...)
	}
	return fds
}

// find returns an item and announces a user of it.
func (k *Keeper) find(id string) (*item, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	it := k.items[id]
	if it == nil || it.gone {
		return nil, &wire.Error{Step: "find", Path: id, Errno: syscall.ENOENT}
	}
	it.users++
	return it, nil
}

// put enters a new item. An id is used once: EEXIST.
func (k *Keeper) put(it *item) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.items[it.id] != nil {
		return &wire.Error{Step: "hold", Path: it.id, Errno: syscall.EEXIST}
	}
	k.items[it.id] = it
	return nil
}

// remove takes an item out of the table and lets go of its descriptors.
func (k *Keeper) remove(it *item) {
	k.mu.Lock()
	if k.items[it.id] == it {
		delete(k.items, it.id)
	}
	it.gone = true
	for _, name := range []string{wire.FdPidfd, wire.FdStdout, wire.FdStderr, wire.FdMaster} {
		if fd := it.fd(name); fd >= 0 {
			k.loop.remove(fd)
		}
	}
	fds := k.closable(it)
	k.mu.Unlock()
	wire.CloseAll(fds)
}

// hold gives an id descriptors, making the item when there is none.
func (k *Keeper) hold(m *wire.Hold, fds []int) error {
	named, err := byName(m.Names, fds)
	if err != nil {
		return err
	}
	k.mu.Lock()
	it := k.items[m.ID]
	if it == nil {
		it = &item{id: m.ID, kind: m.Kind, fds: map[string]int{}}
		k.items[m.ID] = it
	}
	var old []int
	for name, fd := range named {
		if before, ok := it.fds[name]; ok {
			if slices.Contains(private, name) { // in use by number: the first one stays
				old = append(old, fd)
				continue
			}
			old = append(old, before)
		}
		it.fds[name] = fd
	}
	k.mu.Unlock()
	wire.CloseAll(old)
	return nil
}

// private are the names whose descriptors the keeper itself uses.
var private = []string{
	wire.FdRecord, wire.FdLog, wire.FdLogNext, wire.FdStdout, wire.FdStderr, wire.FdStageR, wire.FdStageW,
	wire.FdOOM, wire.FdMaster, wire.FdPidfd,
}

// byName pairs names with descriptors; on an error they are closed.
func byName(names []string, fds []int) (map[string]int, error) {
	named := make(map[string]int, len(names))
	for i, name := range names {
		if i < len(fds) {
			named[name] = fds[i]
		}
	}
	if len(names) != len(fds) || len(named) != len(fds) {
		wire.CloseAll(fds)
		return nil, &wire.Error{Step: "match descriptors to names", Errno: syscall.EINVAL}
	}
	return named, nil
}
