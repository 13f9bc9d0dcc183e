package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// OpenLog opens a container's log file to append to it, making it (0640) and
// the directories above it (0755) when they are not there. A pod that mounts
// the log directory can swap any part of the path, so no part may be a symlink
// and the file must be a regular one with one name (hardening: log symlinks;
// CVE-2025-0750 class). It never blocks on a FIFO. The caller closes the fd.
func OpenLog(path string) (int, error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return -1, &fs.PathError{Op: "open log", Path: path, Err: unix.EINVAL}
	}
	dir, err := logDirectory(filepath.Dir(path))
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, filepath.Base(path), &unix.OpenHow{
		Flags:   unix.O_WRONLY | unix.O_APPEND | unix.O_CREAT | unix.O_NONBLOCK | unix.O_NOFOLLOW | unix.O_NOCTTY | unix.O_CLOEXEC,
		Mode:    0o640,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return -1, &fs.PathError{Op: "open log", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, &fs.PathError{Op: "open log", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 {
		unix.Close(fd)
		return -1, fmt.Errorf("open log %s: not a regular file with one name: %w", path, unix.EINVAL)
	}
	return fd, nil
}

// logDirectory opens a directory component by component, none a symlink.
func logDirectory(path string) (int, error) {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if part == "" {
			continue
		}
		next, err := logPart(fd, part)
		unix.Close(fd)
		if err != nil {
			return -1, &fs.PathError{Op: "open log directory", Path: path, Err: fmt.Errorf("%q: %w", part, err)}
		}
		fd = next
	}
	return fd, nil
}

func logPart(dir int, name string) (int, error) {
	how := &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := unix.Openat2(dir, name, how)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	if err := unix.Mkdirat(dir, name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	return unix.Openat2(dir, name, how)
}
