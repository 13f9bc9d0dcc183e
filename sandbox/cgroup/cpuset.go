package cgroup

import (
	"fmt"
	"strings"
)

// cpusetFiles must both hold something before a v1 cpuset takes a process.
var cpusetFiles = [...]string{"cpuset.cpus", "cpuset.mems"}

// inheritCpuset fills an empty v1 cpuset from the level above; a filled one
// belongs to whoever filled it (the kubelet's CPU manager).
func inheritCpuset(up, d dir) error {
	for _, name := range cpusetFiles {
		own, err := d.read(name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if strings.TrimSpace(own) != "" {
			continue
		}
		above, err := up.read(name)
		if err != nil {
			return fmt.Errorf("read %s of the level above: %w", name, err)
		}
		if err := d.write(name, strings.TrimSpace(above)); err != nil {
			return fmt.Errorf("set %s to %q: %w", name, strings.TrimSpace(above), err)
		}
	}
	return nil
}

func cpusetFilled(d dir) (bool, error) {
	for _, name := range cpusetFiles {
		text, err := d.read(name)
		if err != nil || strings.TrimSpace(text) == "" {
			return false, err
		}
	}
	return true, nil
}
