package runner

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// serve does the n-th thing that the child waits for.
func (r *running) serve(n int, c *Child) error {
	if n >= len(r.l.service) {
		return unix.EPROTO
	}
	s := &r.l.service[n]
	if s.kind == ServiceFetch {
		return r.fetch(c)
	}
	return r.mapIDs(s)
}

// fetch takes copies of the descriptors that the child offers.
func (r *running) fetch(c *Child) error {
	for i := range r.l.offers {
		fd, err := unix.PidfdGetfd(r.pidfd, int(int32(r.l.status().offers[i])), 0)
		if err != nil {
			return err
		}
		c.Offered = append(c.Offered, fd)
	}
	return nil
}

// mapIDs writes the maps of the child's user namespace, through the /proc that
// came with the program: the keeper has no files of its own.
func (r *running) mapIDs(s *service) error {
	for _, m := range []struct {
		name string
		text []byte
	}{{"uid_map", s.uid}, {"gid_map", s.gid}} {
		fd, err := unix.Openat(s.fd, strconv.Itoa(r.pid)+"/"+m.name, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		_, err = unix.Write(fd, m.text)
		_ = unix.Close(fd)
		if err != nil {
			return err
		}
	}
	return nil
}
