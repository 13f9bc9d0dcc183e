package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lastPrefix = "last_reserved_ip."
	lineBreak  = "\r\n" // between the id and the interface; on every system
)

// store is the directory of one network, locked: one file an address, which
// says whose it is. The form is that of host-local, which takes the same lock.
type store struct {
	dir  string
	lock *os.File
	turn chan struct{}
}

// openStore waits for its turn within this process and then for the lock, as
// long as ctx allows.
func openStore(ctx context.Context, p *pools, dir string, create bool) (*store, error) {
	if create {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("address directory: %w", err)
		}
	}
	s := &store{dir: dir, turn: p.turn(dir)}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the addresses of %q: %w", dir, ctx.Err())
	}
	var err error
	if s.lock, err = flock(ctx, filepath.Join(dir, "lock")); err != nil {
		<-s.turn
		return nil, err
	}
	return s, nil
}

func (s *store) close() {
	_ = s.lock.Close() // gives up the lock
	<-s.turn
}

const (
	lockPause    = 200 * time.Microsecond
	lockPauseMax = 20 * time.Millisecond
)

// flock polls: a blocking flock could not be given up. The file is only made
// where there is none: an address is given back on a full disk, too.
func flock(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		f, err = os.OpenFile(path, os.O_RDONLY|os.O_CREATE|unix.O_NONBLOCK, 0o750)
	}
	if err != nil {
		return nil, fmt.Errorf("address lock: %w", err)
	}
	for pause := lockPause; ; pause = min(2*pause, lockPauseMax) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("address lock %q: %w", path, err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("address lock %q is held by another process: %w", path, ctx.Err())
		}
	}
}

// reserve takes the next free address of the set, the index'th of the network.
func (s *store) reserve(set rangeSet, index int, id, ifName string) (addr netip.Addr, in addrRange, err error) {
	lastFile := filepath.Join(s.dir, lastPrefix+strconv.Itoa(index))
	text, _ := readSmall(lastFile)
	last, _ := netip.ParseAddr(text) // without one, or with a bad one, from the start
	c, err := s.claim(id, ifName)
	if err != nil {
		return addr, in, err
	}
	defer c.close()
	done, err := set.walk(last, func(a netip.Addr, r addrRange) (bool, error) {
		addr, in = a, r
		return c.take(a)
	})
	if err != nil {
		return addr, in, err
	}
	if !done {
		return addr, in, fmt.Errorf("no address is free in %s", set)
	}
	if err := os.WriteFile(lastFile, []byte(addr.String()), 0o600); err != nil {
		_ = s.release(addr, id, ifName)
		return addr, in, err
	}
	return addr, in, nil
}

// claim is a file that says whose an address is, before it has the address's
// name: a kill between the two would leave an address that is nobody's.
type claim struct {
	s    *store
	f    *os.File
	name string // where it has one, to be removed
}

// claim writes one, without a name where the file system can do that.
func (s *store) claim(id, ifName string) (*claim, error) {
	c := &claim{s: s}
	fd, err := unix.Open(s.dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err == nil {
		c.f = os.NewFile(uintptr(fd), s.dir)
	} else if c.f, err = os.CreateTemp(s.dir, "claim-"); err == nil {
		c.name = c.f.Name()
	}
	if err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	if _, err := c.f.WriteString(mark(id, ifName)); err != nil {
		c.close()
		return nil, fmt.Errorf("address: %w", err)
	}
	return c, nil
}

// take returns false when somebody has the address.
func (c *claim) take(a netip.Addr) (bool, error) {
	from := fmt.Sprintf("/proc/self/fd/%d", c.f.Fd())
	path := filepath.Join(c.s.dir, a.String())
	err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, &os.LinkError{Op: "link", Old: from, New: path, Err: err}
	}
	return true, nil
}

func (c *claim) close() {
	_ = c.f.Close()
	if c.name != "" {
		_ = os.Remove(c.name)
	}
}

// owner tells whether the pod has the address.
func (s *store) owner(a netip.Addr, id, ifName string) (bool, error) {
	data, err := readSmall(filepath.Join(s.dir, a.String()))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return isMark(data, id, ifName), err
}

// release gives the address back when the pod has it.
func (s *store) release(a netip.Addr, id, ifName string) error {
	owned, err := s.owner(a, id, ifName)
	if err != nil || !owned {
		return err
	}
	if err := os.Remove(filepath.Join(s.dir, a.String())); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// ownedBy searches the directory for the pod's addresses.
func (s *store) ownedBy(id, ifName string) ([]netip.Addr, error) {
	d, err := os.Open(s.dir)
	if err != nil {
		return nil, fmt.Errorf("address directory: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("address directory: %w", err)
	}
	var out []netip.Addr
	for _, name := range names {
		a, err := netip.ParseAddr(name)
		if err != nil {
			continue
		}
		// What cannot be read is nobody's we know, as with host-local.
		if data, err := readSmall(filepath.Join(s.dir, name)); err == nil && isMark(data, id, ifName) {
			out = append(out, a)
		}
	}
	return out, nil
}

func mark(id, ifName string) string { return strings.TrimSpace(id) + lineBreak + ifName }

// isMark also knows the form of old versions, which had no interface.
func isMark(data, id, ifName string) bool {
	data = strings.TrimSpace(data)
	return data == mark(id, ifName) || data == strings.TrimSpace(id)
}
