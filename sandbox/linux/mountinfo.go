package linux

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Propagation tells whether the mount of a descriptor has peers (shared) and
// whether it gets mounts from a master.
func Propagation(fd int) (shared, master bool, err error) {
	p, err := PlaceOf(fd)
	if err != nil {
		return false, false, err
	}
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return false, false, err
	}
	defer f.Close()
	id := strconv.FormatUint(p.Mount, 10)
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		if len(fields) < 7 || fields[0] != id {
			continue
		}
		for _, o := range fields[6:] {
			if o == "-" {
				break
			}
			shared = shared || strings.HasPrefix(o, "shared:")
			master = master || strings.HasPrefix(o, "master:")
		}
		return shared, master, nil
	}
	if err := s.Err(); err != nil {
		return false, false, err
	}
	return false, false, fmt.Errorf("mount %s is not in our namespace: %w", id, unix.ENOENT)
}
