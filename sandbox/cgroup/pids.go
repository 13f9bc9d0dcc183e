package cgroup

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Pids returns the processes of the group and of all groups below it, from every
// hierarchy, sorted. Zombies are not among them. 0 stands for processes that our
// PID namespace does not show.
func (g *Group) Pids() ([]int, error) {
	release, err := g.use()
	if err != nil {
		return nil, err
	}
	defer release()
	return g.pids()
}

func (g *Group) pids() ([]int, error) {
	seen := map[int]bool{}
	for i, d := range g.dirs {
		if d.File == nil {
			continue
		}
		err := subtree(d, func(d dir) error {
			text, err := d.read("cgroup.procs")
			if errors.Is(err, unix.EOPNOTSUPP) {
				return nil // a threaded group: its processes are listed above it
			}
			if err != nil {
				return err
			}
			for pid := range strings.FieldsSeq(text) {
				n, err := strconv.Atoi(pid)
				if err != nil {
					return fmt.Errorf("pid %q: %w", pid, err)
				}
				seen[n] = true
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("processes of cgroup %q in %s: %w", g.path, g.tree.all[i].name, err)
		}
	}
	pids := make([]int, 0, len(seen))
	for pid := range seen {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids, nil
}
