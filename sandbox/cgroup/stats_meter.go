package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Meter reads what a group uses, again and again: it holds the files of Stats
// open, so that a reading is one system call a file. Safe for concurrent use,
// and no reading waits for another. When the group is gone, and after Close,
// every method answers ErrNotFound. Open files do not keep the kernel from
// removing a group.
//
// It is not a Group: it can neither change nor kill anything.
type Meter struct {
	tree  *Tree
	path  string
	files [metered]int // open files, or one of the two below; never changed
	refs  atomic.Int64 // readings at work, plus one until Close
	done  atomic.Bool  // Close was called
}

// What stands for a file that is not open.
const (
	absent   = -1 // the host has no such file
	uncached = -2 // it is opened for each reading: too many files are open
)

// shareOfFiles is the part of the process's open files that meters may hold.
const shareOfFiles = 4

// Meter opens a meter on the group at a path as in Create. ErrNotFound if the
// group is in no hierarchy.
func (t *Tree) Meter(path string) (*Meter, error) {
	if _, _, err := parsePath(path); err != nil {
		return nil, err
	}
	m := &Meter{tree: t, path: path}
	m.refs.Store(1)
	cache := t.mayHold(metered)
	found := false
	for i, c := range t.controls() {
		m.files[i] = absent
		fd, err := t.openControl(path, c)
		switch {
		case gone(err): // the host does not count this
		case err != nil: // no more files, for instance: the next reading tries again
			m.files[i], found = uncached, true
		case cache:
			m.files[i], found = fd, true
		default:
			m.files[i], found = uncached, true
			_ = unix.Close(fd)
		}
	}
	t.held.Add(int64(m.open()))
	if !found {
		m.closeFiles()
		return nil, fmt.Errorf("meter of cgroup %q: %w", path, ErrNotFound)
	}
	return m, nil
}

func (t *Tree) controls() [metered]control {
	if t.v2 {
		return controlsV2()
	}
	all := controlsV1()
	if t.index("cpuacct") < 0 { // a cgroup2 tree counts time without a controller
		all[cpuUsage] = control{"", "cpu.stat"}
	}
	return all
}

// mayHold tells whether meters may have n more files open.
func (t *Tree) mayHold(n int64) bool {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return false
	}
	return uint64(t.held.Load()+n) <= limit.Cur/shareOfFiles
}

// openControl opens one file of the group at a path.
func (t *Tree) openControl(path string, c control) (int, error) {
	i := t.two
	if c.controller != "" {
		i = t.index(c.controller)
	}
	if i < 0 || c.file == "" {
		return -1, unix.ENOENT
	}
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: beneath}
	for {
		fd, err := unix.Openat2(int(t.all[i].root.Fd()), relative(path)+"/"+c.file, &how)
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
}

// use keeps the files open until release is called.
func (m *Meter) use() error {
	for {
		n := m.refs.Load()
		if n <= 0 {
			return fmt.Errorf("meter of cgroup %q: %w", m.path, ErrNotFound)
		}
		if m.refs.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

func (m *Meter) release() {
	if m.refs.Add(-1) == 0 {
		m.closeFiles()
	}
}

// Close lets go of the files when the last reading has ended. Idempotent.
func (m *Meter) Close() error {
	if m.done.CompareAndSwap(false, true) {
		m.release()
	}
	return nil
}

// open counts the files that are held.
func (m *Meter) open() (n int) {
	for _, fd := range m.files {
		if fd >= 0 {
			n++
		}
	}
	return n
}

func (m *Meter) closeFiles() {
	for _, fd := range m.files {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	m.tree.held.Add(-int64(m.open()))
}

// Stats reads the group. ErrNotFound when it is gone.
func (m *Meter) Stats() (Stats, error) {
	if err := m.use(); err != nil {
		return Stats{}, err
	}
	defer m.release()
	return m.stats()
}

func (m *Meter) stats() (Stats, error) {
	buf, _ := m.tree.buffers.Get().(*[]byte)
	if buf == nil {
		b := make([]byte, 4096) // memory.stat fits
		buf = &b
	}
	defer m.tree.buffers.Put(buf)
	s := Stats{Time: time.Now()}
	seen, lost := false, false
	s.read(func(i int) ([]byte, bool) {
		n, err := m.read(i, buf)
		seen = seen || err == nil
		lost = lost || errors.Is(err, unix.ENODEV)
		return (*buf)[:n], err == nil
	}, m.tree.v2)
	if lost || !seen {
		return Stats{}, fmt.Errorf("cgroup %q: %w", m.path, ErrNotFound)
	}
	return s, nil
}

// read reads file i of the tables from its beginning.
func (m *Meter) read(i int, buf *[]byte) (int, error) {
	switch fd := m.files[i]; fd {
	case absent:
		return 0, unix.ENOENT
	case uncached:
		return m.tree.readControl(m.path, m.tree.controls()[i], buf)
	default:
		return readWhole(fd, buf)
	}
}

func (t *Tree) readControl(path string, c control, buf *[]byte) (int, error) {
	fd, err := t.openControl(path, c)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return readWhole(fd, buf)
}

// readWhole reads a file of one record, as all of a group's are but the lists of
// processes: the kernel gives it whole or, into a buffer that it fills, in part.
func readWhole(fd int, buf *[]byte) (int, error) {
	for {
		n, err := unix.Pread(fd, *buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case n < len(*buf):
			return n, nil
		case n >= maxRead:
			return 0, unix.EFBIG
		default:
			*buf = make([]byte, 4*len(*buf))
		}
	}
}

// Processes counts the processes of the group and of all groups below it.
func (m *Meter) Processes() (uint64, error) {
	pids, err := m.Pids()
	return uint64(len(pids)), err
}

// Pids returns the processes of the group and of all groups below it. Unlike
// Group.Pids it asks one hierarchy when there are no groups below.
func (m *Meter) Pids() ([]int, error) {
	if err := m.use(); err != nil {
		return nil, err
	}
	defer m.release()
	text, alone, err := m.procs()
	if err != nil {
		return nil, err
	}
	if !alone {
		g, err := m.tree.Open(m.path)
		if err != nil {
			return nil, err
		}
		defer g.Close()
		return g.Pids()
	}
	var pids []int
	for pid := range strings.FieldsSeq(text) {
		n, err := strconv.Atoi(pid)
		if err != nil {
			return nil, fmt.Errorf("process of cgroup %q: %w", m.path, err)
		}
		pids = append(pids, n)
	}
	return pids, nil
}

// procs reads the list of processes of the group itself; alone: there are no
// groups below it.
func (m *Meter) procs() (text string, alone bool, err error) {
	t := m.tree
	i := max(t.index("pids"), 0) // any hierarchy has all processes of a container
	d, err := openDir(dir{t.all[i].root}, relative(m.path))
	if err != nil {
		return "", false, fmt.Errorf("cgroup %q: %w", m.path, notFound(err))
	}
	defer d.Close()
	var st unix.Stat_t
	if err := unix.Fstat(d.fd(), &st); err != nil {
		return "", false, fmt.Errorf("cgroup %q: %w", m.path, err)
	}
	text, err = d.read("cgroup.procs")
	if err != nil {
		return "", false, fmt.Errorf("processes of cgroup %q: %w", m.path, notFound(err))
	}
	return text, st.Nlink <= 2, nil
}

func notFound(err error) error {
	if gone(err) {
		return ErrNotFound
	}
	return err
}
