package cgroup

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is one cgroup or cgroup2 line of mountinfo.
type mount struct {
	point       string
	unified     bool
	readonly    bool
	dev         uint64   // as stat of the mount point shows it
	controllers []string // v1: "cpu", "cpuacct", "name=systemd"; nil on cgroup2
}

// notControllers are the mount options of a v1 hierarchy that name no controller.
var notControllers = map[string]bool{
	"rw": true, "ro": true, "xattr": true, "clone_children": true, "noprefix": true,
	"cpuset_v2_mode": true, "favordynmods": true, "nofavordynmods": true, "seclabel": true,
}

// parseMounts returns the cgroup mounts in mount order.
func parseMounts(mountinfo io.Reader) ([]mount, error) {
	var found []mount
	lines := bufio.NewScanner(mountinfo)
	lines.Buffer(nil, 1<<20) // an overlay with 500 lowers is one line
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		head, tail := strings.Fields(before), strings.Fields(after)
		if !ok || len(head) < 6 || len(tail) < 3 || (tail[0] != "cgroup" && tail[0] != "cgroup2") {
			continue
		}
		var major, minor uint32
		if _, err := fmt.Sscanf(head[2], "%d:%d", &major, &minor); err != nil {
			return nil, fmt.Errorf("mountinfo line %q: %w", lines.Text(), err)
		}
		m := mount{
			point:    unescape(head[4]),
			unified:  tail[0] == "cgroup2",
			readonly: hasOption(head[5], "ro") || hasOption(tail[2], "ro"),
			dev:      unix.Mkdev(major, minor),
		}
		if !m.unified {
			m.controllers = controllersOf(tail[2])
		}
		found = append(found, m)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read mountinfo: %w", err)
	}
	return found, nil
}

func controllersOf(options string) []string {
	var names []string
	for o := range strings.SplitSeq(options, ",") {
		if strings.HasPrefix(o, "name=") || (!strings.Contains(o, "=") && !notControllers[o]) {
			names = append(names, o)
		}
	}
	return names
}

func hasOption(options, want string) bool {
	for o := range strings.SplitSeq(options, ",") {
		if o == want {
			return true
		}
	}
	return false
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// choose picks one mount for each hierarchy. The same hierarchy is often mounted
// more than once (a container's root file system, a mount namespace of a test):
// writable before read-only, below base before elsewhere, later before earlier.
func choose(all []mount, base string) []mount {
	rank := func(m mount) int {
		r := 0
		if !m.readonly {
			r += 2
		}
		if strings.HasPrefix(m.point, base+"/") || m.point == base {
			r++
		}
		return r
	}
	var chosen []mount
	at := map[string]int{}
	for _, m := range all {
		key := strings.Join(m.controllers, ",")
		i, seen := at[key]
		switch {
		case !seen:
			at[key] = len(chosen)
			chosen = append(chosen, m)
		case rank(m) >= rank(chosen[i]):
			chosen[i] = m
		}
	}
	return chosen
}
