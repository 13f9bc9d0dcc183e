package linux

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// LinkFile writes a file into a directory such that it appears whole, on disk,
// and once: fs.ErrExist means that somebody else was first, and nothing
// changed. tag tells the writers of one file apart.
func LinkFile(dir int, name, tag string, data []byte) error {
	tmp := name + "." + tag
	fd, err := unix.Openat(dir, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("write %q: %w", name, err)
	}
	err = writeAll(fd, data)
	if err == nil {
		err = unix.Fdatasync(fd)
	}
	err = errors.Join(err, unix.Close(fd))
	if err == nil {
		err = unix.Linkat(dir, tmp, dir, name, 0)
	}
	_ = unix.Unlinkat(dir, tmp, 0)
	if err != nil {
		return fmt.Errorf("write %q: %w", name, err)
	}
	_ = unix.Fsync(dir) // the name; a file that was synced is there without it on the file systems we know
	return nil
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// ReadFileAt reads a small regular file of a directory of ours, at most limit bytes.
func ReadFileAt(dir int, name string, limit int) ([]byte, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", name, err)
	}
	defer unix.Close(fd)
	return ReadAt(fd, limit)
}

// ReadAt reads an open file from its beginning, at most limit bytes, leaving its
// offset alone: the descriptor may be shared with another process.
func ReadAt(fd, limit int) ([]byte, error) {
	b := make([]byte, limit)
	n := 0
	for n < limit {
		k, err := unix.Pread(fd, b[n:], int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		if k == 0 {
			break
		}
		n += k
	}
	return b[:n], nil
}

// OOMKills returns the count of OOM kills in an open memory.events (v2) or
// memory.oom_control (v1); 0 when the file does not say.
func OOMKills(fd int) uint64 {
	b, err := ReadAt(fd, 4096)
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b) {
		if v, ok := bytes.CutPrefix(line, []byte("oom_kill ")); ok {
			n, _ := strconv.ParseUint(string(bytes.TrimSpace(v)), 10, 64)
			return n
		}
	}
	return 0
}
