package cgroup

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// wantedControllers are those that a container's limits and numbers need. Others
// (perf_event is always on, rdma, misc) are left as the host has them.
var wantedControllers = []string{"cpu", "cpuset", "io", "memory", "pids", "hugetlb"}

// disabledControllers returns what a v2 group could give its children and does not.
func disabledControllers(d dir) ([]string, error) {
	offered, err := d.read("cgroup.controllers")
	if err != nil {
		return nil, fmt.Errorf("read cgroup.controllers: %w", err)
	}
	enabled, err := d.read("cgroup.subtree_control")
	if err != nil {
		return nil, fmt.Errorf("read cgroup.subtree_control: %w", err)
	}
	return missingControllers(offered, enabled), nil
}

func missingControllers(offered, enabled string) []string {
	var missing []string
	have, on := strings.Fields(offered), strings.Fields(enabled)
	for _, c := range wantedControllers {
		if slices.Contains(have, c) && !slices.Contains(on, c) {
			missing = append(missing, c)
		}
	}
	return missing
}

// enableControllers turns on for d's children whatever d itself has. One by one
// after a refusal: one controller that cannot be had (cpu while real-time
// processes run) must not cost the others; a limit that needs it names it later.
func (t *Tree) enableControllers(d dir, at string) error {
	missing, err := disabledControllers(d)
	if err != nil || len(missing) == 0 {
		return err
	}
	all := "+" + strings.Join(missing, " +")
	err = d.write("cgroup.subtree_control", all)
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("enable controllers %q below cgroup %q: processes sit in that group itself (v2 allows them in leaves only): %w", all, at, err)
	}
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return fmt.Errorf("enable controllers %q below cgroup %q: %w", all, at, err)
	}
	for _, c := range missing {
		if err := d.write("cgroup.subtree_control", "+"+c); err != nil {
			t.warnOnce("cgroup controller not enabled for children", "controller", c, "cgroup", at, "err", err)
		}
	}
	return nil
}
