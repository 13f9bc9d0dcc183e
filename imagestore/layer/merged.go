package layer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxLinks = 40   // symbolic links that one path may go through, as in the kernel
	maxWay   = 1024 // directories that one path may hold open, of all layers together
)

// ReadFile reads one regular file of at most limit bytes out of layers, top
// first, as overlayfs would show it, without mounting them. The trees are
// hostile: every part of the path is opened from the directory that it is in,
// none is followed by the kernel, links are followed here and end at the root,
// and nothing but a regular file is read or waited for.
//
// Errors: fs.ErrNotExist if it is not there, ErrInvalid if it is something
// else, ErrLimit if it is larger.
func ReadFile(layers []string, name string, limit int64) ([]byte, error) {
	m, err := openMerged(layers)
	if err != nil {
		return nil, err
	}
	defer m.close()
	fd, err := m.file(name)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%q: more than %d bytes: %w", name, limit, ErrLimit)
	}
	return b, err
}

// merged is a place in layers that lie on top of each other: the directories
// on the way from the root, and of each the layers that show through, top
// first.
type merged struct {
	way   [][]int
	held  int // descriptors in way
	links int
}

func openMerged(layers []string) (*merged, error) {
	m := &merged{way: make([][]int, 1)}
	for _, l := range layers {
		fd, err := openTree(l)
		if err != nil {
			m.close()
			return nil, err
		}
		m.way[0] = append(m.way[0], fd)
		m.held++
	}
	return m, nil
}

func (m *merged) close() {
	m.up(len(m.way))
}

// up leaves the last n directories.
func (m *merged) up(n int) {
	for range n {
		last := len(m.way) - 1
		m.held -= len(m.way[last])
		for _, fd := range m.way[last] {
			_ = unix.Close(fd)
		}
		m.way = m.way[:last]
	}
}

// file opens the regular file that name leads to.
func (m *merged) file(name string) (int, error) {
	rest := name
	for {
		var part string
		part, rest, _ = strings.Cut(strings.TrimLeft(rest, "/"), "/")
		switch part {
		case "":
			return -1, fmt.Errorf("is a directory: %w", ErrInvalid)
		case ".":
			continue
		case "..":
			m.up(min(1, len(m.way)-1))
			continue
		}
		at, mode, err := m.find(part)
		if err != nil {
			return -1, err
		}
		last := strings.Trim(rest, "/") == ""
		switch {
		case mode == unix.S_IFLNK:
			if rest, err = m.follow(at, part, rest); err != nil {
				return -1, err
			}
		case mode == unix.S_IFDIR:
			if err := m.enter(part, at); err != nil {
				return -1, err
			}
		case !last:
			return -1, fs.ErrNotExist // a file where a directory should be
		case mode == unix.S_IFREG:
			return unix.Openat(m.here()[at], part, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		default:
			return -1, fmt.Errorf("not a regular file: %w", ErrInvalid)
		}
	}
}

func (m *merged) here() []int { return m.way[len(m.way)-1] }

// find says in which of the layers here a name is seen, and what it is.
func (m *merged) find(name string) (at int, mode uint32, err error) {
	for at, fd := range m.here() {
		var st unix.Stat_t
		err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case errors.Is(err, unix.ENOENT):
		case err != nil:
			return 0, 0, nameError(err)
		case isWhiteout(&st):
			return 0, 0, fs.ErrNotExist
		default:
			return at, st.Mode & unix.S_IFMT, nil
		}
	}
	return 0, 0, fs.ErrNotExist
}

// enter goes down into a directory whose uppermost part is in layer from, and
// takes along what lies below it, down to an opaque one or to what is no
// directory.
func (m *merged) enter(name string, from int) error {
	var parts []int
	for _, l := range m.here()[from:] {
		fd, err := unix.Openat(l, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if gone(err) {
			break
		}
		if err != nil {
			for _, fd := range parts {
				_ = unix.Close(fd)
			}
			return nameError(err)
		}
		parts = append(parts, fd)
		if isOpaque(fd) {
			break
		}
	}
	m.way = append(m.way, parts)
	if m.held += len(parts); m.held > maxWay {
		return fmt.Errorf("more than %d directories: %w", maxWay, ErrLimit)
	}
	return nil
}

// follow puts a link's target before the rest of the path.
func (m *merged) follow(at int, name, rest string) (string, error) {
	if m.links++; m.links > maxLinks {
		return "", fmt.Errorf("more than %d links: %w", maxLinks, ErrInvalid)
	}
	buf := make([]byte, maxName)
	n, err := unix.Readlinkat(m.here()[at], name, buf)
	if err != nil {
		return "", err
	}
	target := string(buf[:n])
	if strings.HasPrefix(target, "/") {
		m.up(len(m.way) - 1)
	}
	return target + "/" + rest, nil
}
