package server

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ListenOptions say where the socket is and who may use it. Address is needed.
type ListenOptions struct {
	Address string // unix:///run/slipway/slipway.sock, or an absolute path
	Group   string // name or number of the group that may connect; "" is root alone
	Own     string // a directory of ours that Group may be let through, if the socket is in it
	Log     *slog.Logger
}

// answerTime is how long another daemon on the socket may take to be noticed.
const answerTime = time.Second

// Listen makes the socket. Whoever may connect is root on this host, so:
// without a group the socket is 0600 and each peer must be of our own uid,
// which also holds for a socket that leaked into a container; with a group it
// is 0660 and the kernel asks for the membership at connect, supplementary
// groups included, which a look at the peer's credentials could not.
//
// A socket that nobody answers is replaced; one that is answered is an error.
func Listen(o ListenOptions) (net.Listener, error) {
	path, err := socketPath(o.Address)
	if err != nil {
		return nil, err
	}
	gid, err := groupID(o.Group)
	if err != nil {
		return nil, err
	}
	if err := makeParent(filepath.Dir(path), o.Own, gid); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if gid < 0 {
		if err := os.Chmod(path, 0o600); err != nil {
			return nil, errors.Join(err, l.Close())
		}
		return &privateListener{Listener: l, log: o.Log}, nil
	}
	if err := errors.Join(os.Chown(path, -1, gid), os.Chmod(path, 0o660)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// socketPath returns the path that an address such as unix:///run/x.sock names.
func socketPath(address string) (string, error) {
	path := strings.TrimPrefix(address, "unix://")
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("address %q: only unix:///path is possible, with an absolute path", address)
	}
	return filepath.Clean(path), nil
}

// groupID returns -1 for no group.
func groupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	if gid, err := strconv.ParseUint(group, 10, 31); err == nil {
		return int(gid), nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("socket group: %w", err)
	}
	return strconv.Atoi(g.Gid)
}

// makeParent makes the socket's directory if it is not there, and lets the
// group through it if it is ours to say so.
func makeParent(dir, own string, gid int) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o700)
	made := err == nil
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if gid < 0 || !made && dir != filepath.Clean(own) {
		return nil
	}
	return errors.Join(os.Chown(dir, -1, gid), os.Chmod(dir, 0o710))
}

// removeStale removes the socket of a daemon that ended without doing so.
func removeStale(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if fi.Mode().Type() != fs.ModeSocket {
		return errors.New("there is something else with that name, not a socket")
	}
	c, err := net.DialTimeout("unix", path, answerTime)
	switch {
	case err == nil:
		return errors.Join(errors.New("another process answers there"), c.Close())
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	}
	return fmt.Errorf("whether another process answers there: %w", err)
}

// privateListener turns away whoever is not of our own uid.
type privateListener struct {
	net.Listener
	log *slog.Logger
}

func (l *privateListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, err := peerOf(c)
		if err == nil && int(peer.Uid) == os.Geteuid() {
			return c, nil
		}
		l.log.Warn("connection turned away", "uid", peer.Uid, "pid", peer.Pid, "error", err)
		_ = c.Close() // nothing was said on it
	}
}

// peerOf returns who made a connection.
func peerOf(c net.Conn) (syscall.Ucred, error) {
	unix, ok := c.(syscall.Conn)
	if !ok {
		return syscall.Ucred{}, fmt.Errorf("%T has no credentials", c)
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return syscall.Ucred{}, err
	}
	var cred *syscall.Ucred
	var optErr error
	err = raw.Control(func(fd uintptr) {
		cred, optErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(err, optErr); err != nil {
		return syscall.Ucred{}, err
	}
	return *cred, nil
}
