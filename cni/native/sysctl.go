package native

import (
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// setSysctl writes a value under /proc/sys/net, of the namespace of this
// thread, unless it is there already. It does without os.File: a dozen of
// these are on the way of every pod, and the poller would double their cost.
func setSysctl(name, value string) error {
	path := "/proc/sys/net/" + name
	if old, err := readSmall(path); err == nil && strings.TrimSpace(old) == value {
		return nil
	}
	// No O_CREAT: a missing one is an error that names it.
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(value)); err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// tryIPv6 sets a value that does not matter where IPv6 is switched off.
func tryIPv6(name, value string) error {
	if err := setSysctl("ipv6/"+name, value); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

const smallLimit = 4096 // bytes

// readSmall reads the beginning of a file that is one read long.
func readSmall(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var buf [smallLimit]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return "", &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return string(buf[:n]), nil
}
