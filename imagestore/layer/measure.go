package layer

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// measureDepth is how deep Measure looks. A container that hides its files
// deeper than this hides them from every path too.
const measureDepth = 400

// Measure counts the bytes on disk and the inodes of a tree that may be
// changing meanwhile. A file with several names counts once.
func Measure(ctx context.Context, path string) (bytes, inodes uint64, err error) {
	fd, err := openTree(path)
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(fd)
	m := &measure{ctx: ctx, linked: map[uint64]struct{}{}}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, 0, err
	}
	m.dev = st.Dev
	m.add(&st)
	if err := m.walk(fd, 0); err != nil {
		return 0, 0, err
	}
	return m.bytes, m.inodes, nil
}

type measure struct {
	ctx           context.Context // of the one Measure that made it
	dev           uint64
	linked        map[uint64]struct{} // inodes with several names, by number
	bytes, inodes uint64
}

func (m *measure) add(st *unix.Stat_t) {
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if _, seen := m.linked[st.Ino]; seen {
			return
		}
		m.linked[st.Ino] = struct{}{}
	}
	m.inodes++
	m.bytes += uint64(st.Blocks) * 512
}

func (m *measure) walk(fd, depth int) error {
	buf := make([]byte, direntSize)
	for {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		list, err := readDirents(fd, buf)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, e := range list {
			if err := m.entry(fd, e, depth); err != nil {
				return err
			}
		}
	}
}

func (m *measure) entry(dir int, e dirent, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, e.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return ignoreGone(err)
	}
	if st.Dev != m.dev {
		return nil
	}
	m.add(&st)
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || depth >= measureDepth {
		return nil
	}
	fd, err := unix.Openat(dir, e.name, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return ignoreGone(err)
	}
	defer unix.Close(fd)
	return m.walk(fd, depth+1)
}

// ignoreGone: the container goes on while its files are counted.
func ignoreGone(err error) error {
	if gone(err) || errors.Is(err, unix.ESTALE) {
		return nil
	}
	return err
}
