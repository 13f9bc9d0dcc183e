package linux

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrTooLarge: a file holds more than the limit.
var ErrTooLarge = errors.New("is too large")

// ReadIn reads a regular file below a root, following links inside it only, at
// most limit bytes. It never blocks on what is not a regular file.
func ReadIn(root int, path string, limit int64) ([]byte, error) {
	fd, err := openat2(root, path, unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("stat %q: %w", path, err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("%q: not a regular file: %w", path, ErrKind)
	case st.Size > limit:
		return nil, fmt.Errorf("%q: %d bytes: %w", path, st.Size, ErrTooLarge)
	}
	f, err := Reopen(fd, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOATIME)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", path, err)
	}
	defer unix.Close(f)
	b, err := ReadAt(f, int(limit)+1) // it may grow meanwhile
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%q: %w", path, ErrTooLarge)
	}
	return b, nil
}

// Reopen opens what an O_PATH descriptor refers to, and nothing else.
func Reopen(fd, flags int) (int, error) {
	f, err := unix.Open(selfFd(fd), flags|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if errors.Is(err, unix.EPERM) && flags&unix.O_NOATIME != 0 { // needs to be the owner
		return unix.Open(selfFd(fd), flags&^unix.O_NOATIME|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	}
	return f, err
}
