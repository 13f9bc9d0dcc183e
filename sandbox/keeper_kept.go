package sandbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"slipway/sandbox/linux"
	"slipway/sandbox/wire"
)

// kept is the daemon's own copy of what the keeper holds: enough to equip the
// next keeper. link.mu guards it.
type kept struct {
	id     string
	kind   wire.Kind
	pid    int // 0: descriptors only, or being started
	oom    uint64
	fds    map[string]int
	exit   *wire.Exit
	starts bool         // being started: not handed over
	orphan bool         // its keeper died: it may be our child now
	how    *linux.Ended // what we saw of its end as its parent
}

// copies duplicates descriptors; negative ones are none. All or nothing.
func copies(fds map[string]int) (map[string]int, error) {
	out := make(map[string]int, len(fds))
	for name, fd := range fds {
		if fd < 0 {
			continue
		}
		c, err := linux.Dup(fd)
		if err != nil {
			wire.CloseAll(slices.Collect(maps.Values(out)))
			return nil, fmt.Errorf("copy descriptor %q: %w", name, err)
		}
		out[name] = c
	}
	return out, nil
}

// present leaves out the names that have no descriptor.
func present(fds map[string]int) map[string]int {
	fds = maps.Clone(fds)
	maps.DeleteFunc(fds, func(_ string, fd int) bool { return fd < 0 })
	return fds
}

// split turns named descriptors into what a message needs.
func split(fds map[string]int) (names []string, list []int) {
	for _, name := range slices.Sorted(maps.Keys(fds)) {
		names, list = append(names, name), append(list, fds[name])
	}
	return names, list
}

// keep enters copies of descriptors under an id, in place of those of the same name.
func (l *link) keep(id string, kind wire.Kind, fds map[string]int) (*kept, error) {
	mine, err := copies(fds)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.kept[id]
	if k == nil {
		k = &kept{id: id, kind: kind, fds: map[string]int{}}
		l.kept[id] = k
	}
	for name, fd := range mine {
		k.set(name, fd)
	}
	return k, nil
}

// set enters a descriptor, closing the one that had the name. Under mu.
func (k *kept) set(name string, fd int) {
	if old, ok := k.fds[name]; ok {
		_ = linux.Close(old)
	}
	k.fds[name] = fd
}

// unset closes a descriptor. Under mu.
func (k *kept) unset(name string) {
	if fd, ok := k.fds[name]; ok {
		_ = linux.Close(fd)
		delete(k.fds, name)
	}
}

// forget closes the copies of an id.
func (l *link) forget(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.kept[id]; k != nil {
		delete(l.kept, id)
		wire.CloseAll(slices.Collect(maps.Values(k.fds)))
	}
}

// handOver equips a keeper with what is kept, but for what it holds already.
// One thing that it refuses is reported and does not keep the rest from it.
func (l *link) handOver(ctx context.Context, w *keeperWire, has map[string]bool) error {
	l.mu.Lock()
	ids := slices.Sorted(maps.Keys(l.kept))
	l.mu.Unlock()
	for _, id := range ids {
		if has[id] {
			continue
		}
		err := l.handOne(ctx, w, id)
		var no *wire.Error
		if errors.As(err, &no) {
			l.o.Log.Error("the new keeper does not look after it", "id", id, "error", err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// handOne hands one id over. A refusal is a *wire.Error.
func (l *link) handOne(ctx context.Context, w *keeperWire, id string) error {
	m, fds, err := l.description(id)
	if m == nil || err != nil {
		return err
	}
	_, list := split(fds)
	defer wire.CloseAll(list)
	p, err := w.ask(ctx, m, list, nil)
	if err != nil {
		return err
	}
	if f, ok := p.Message.(*wire.Failed); ok {
		return f.Error()
	}
	l.reopened(id, true)
	return nil
}

// description is the message that hands an id over, and copies of its
// descriptors; nil when there is nothing to hand over.
func (l *link) description(id string) (wire.Message, map[string]int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.kept[id]
	if k == nil || k.starts || k.exit != nil {
		return nil, nil, nil
	}
	fds, err := copies(k.fds)
	if err != nil {
		return nil, nil, err
	}
	names, _ := split(fds)
	if k.pid == 0 {
		return &wire.Hold{ID: id, Kind: k.kind, Names: names}, fds, nil
	}
	return &wire.Watch{ID: id, Kind: k.kind, Pid: k.pid, Names: names, OOM: k.oom}, fds, nil
}
