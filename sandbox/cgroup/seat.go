package cgroup

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// Seat is Join for one start after another: the descriptors are opened once and
// stay the group's, good until it is closed. A child has its parent's wherever
// it is not itself.
func (g *Group) Seat() (into int, procs []int, err error) {
	release, err := g.use()
	if err != nil {
		return -1, nil, err
	}
	defer release()
	if err := g.sit(); err != nil {
		return -1, nil, err
	}
	into = -1
	for i, h := range g.tree.all {
		switch fd := g.seatIn(i); {
		case fd < 0:
		case h.unified:
			into = fd
		default:
			procs = append(procs, fd)
		}
	}
	return into, procs, nil
}

// sit opens what Seat returns and is not open yet.
func (g *Group) sit() error {
	if g.parent != nil {
		if err := g.parent.sit(); err != nil {
			return err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.seats != nil {
		return nil
	}
	seats := make([]int, len(g.dirs))
	for i, d := range g.dirs {
		seats[i] = -1
		switch {
		case d.File == nil:
		case g.tree.all[i].unified:
			seats[i] = d.fd()
		default:
			fd, err := d.openFile(joinFile, unix.O_WRONLY)
			if err != nil {
				g.closeSeats(seats)
				return fmt.Errorf("join cgroup %q in %s: %w", g.path, g.tree.all[i].name, err)
			}
			seats[i] = fd
		}
	}
	g.seats = seats
	return nil
}

func (g *Group) seatIn(i int) int {
	if g.dirs[i].File == nil && g.parent != nil {
		return g.parent.seats[i]
	}
	return g.seats[i]
}

// closeSeats closes those that are not the directories themselves.
func (g *Group) closeSeats(seats []int) {
	for i, fd := range seats {
		if fd >= 0 && !g.tree.all[i].unified {
			_ = unix.Close(fd)
		}
	}
}

// Dismiss removes a child group and closes it. One that still has processes or
// groups below it stays, and goes with its parent: false.
func (g *Group) Dismiss() (bool, error) {
	if g.parent == nil {
		return false, fmt.Errorf("dismiss cgroup %q: not a child: %w", g.path, ErrInvalid)
	}
	release, err := g.use()
	if err != nil {
		return false, err
	}
	defer release()
	defer g.Close()
	empty := true
	for i, d := range g.dirs {
		if d.File == nil {
			continue
		}
		err := unix.Unlinkat(g.parent.dirs[i].fd(), path.Base(g.path), unix.AT_REMOVEDIR)
		switch {
		case err == nil || gone(err):
		case errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOTEMPTY):
			empty = false
		default:
			return false, fmt.Errorf("dismiss cgroup %q: %w", g.path, err)
		}
	}
	return empty, nil
}
