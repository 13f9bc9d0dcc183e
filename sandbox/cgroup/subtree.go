package cgroup

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// maxDirs bounds one walk: a container with a writable cgroup mount decides how
// many groups lie below its leaf.
const maxDirs = 100_000

// subtree calls visit for d and for every group below it, a parent before its
// children. Groups that vanish meanwhile are passed over. It holds two
// directories open whatever the depth, which is the container's to choose.
func subtree(d dir, visit func(dir) error) error {
	cur, err := openDir(d, ".")
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = cur.Close() }()
	var todo [][]string // names still to visit, one list for each level
	for range maxDirs {
		if err := visit(cur); err != nil && !gone(err) {
			return err
		}
		names, err := childNames(cur)
		if err != nil && !gone(err) {
			return err
		}
		todo = append(todo, names)
		if err := nextDir(&cur, &todo); err != nil || len(todo) == 0 {
			return err
		}
	}
	return fmt.Errorf("more than %d groups in one subtree: %w", maxDirs, ErrUnsupported)
}

// nextDir moves cur to the next directory of a depth-first walk; todo is empty
// when there is none.
func nextDir(cur *dir, todo *[][]string) error {
	for {
		level := len(*todo) - 1
		names := (*todo)[level]
		if len(names) == 0 {
			*todo = (*todo)[:level]
			if level == 0 {
				return nil
			}
			if err := climb(cur); err != nil {
				if gone(err) { // the branch was cut: start of the walk is lost with it
					*todo = nil
					return nil
				}
				return err
			}
			continue
		}
		(*todo)[level] = names[1:]
		next, err := openDir(*cur, names[0])
		if gone(err) {
			continue
		}
		if err != nil {
			return err
		}
		_ = cur.Close()
		*cur = next
		return nil
	}
}

// climb moves cur to its parent. Only for a walk that came from there: a group
// cannot move to another parent.
func climb(cur *dir) error {
	up, err := parentOf(*cur)
	if err != nil {
		return err
	}
	_ = cur.Close()
	*cur = up
	return nil
}

func parentOf(d dir) (dir, error) {
	fd, err := unix.Openat(d.fd(), "..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return dir{}, err
	}
	return dir{os.NewFile(uintptr(fd), "..")}, nil
}

// childNames lists the groups directly below d.
func childNames(d dir) ([]string, error) {
	fd, err := d.openFile(".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), ".")
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil && len(entries) == 0 {
		var errno unix.Errno
		if errors.As(err, &errno) {
			return nil, errno
		}
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
