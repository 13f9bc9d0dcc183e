package cgroup

import (
	"fmt"
	"os"
	"strings"

	"slipway/sandbox/cgroup/systemd"
)

// allowed is one entry of DeviceAllow: (ss).
type allowed struct{ Device, Access string }

// addDevices says in systemd's words what devices.list says. On v1 systemd writes
// device rules whenever it reads its configuration anew; without these it would
// allow all. On v2 it adds a filter of its own only to units that have rules, and
// ours stays.
func addDevices(props []systemd.Property, list string) ([]systemd.Property, error) {
	var allow []allowed
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, fmt.Errorf("devices.list: line %q: %w", line, ErrInvalid)
		}
		if f[0] == "a" {
			return append(props,
				systemd.Property{Name: "DevicePolicy", Value: "auto"},
				systemd.Property{Name: "DeviceAllow", Value: []allowed{}}), nil
		}
		name, ok := deviceName(f[0], f[1])
		if ok {
			allow = append(allow, allowed{name, f[2]})
		}
	}
	return append(props,
		systemd.Property{Name: "DevicePolicy", Value: "strict"},
		systemd.Property{Name: "DeviceAllow", Value: allow}), nil
}

// deviceName is how systemd names the devices of a rule: one by number, a whole
// class by the name of its driver. A class without a driver has no devices.
func deviceName(kind, numbers string) (string, bool) {
	class := map[string]string{"c": "char", "b": "block"}[kind]
	major, minor, _ := strings.Cut(numbers, ":")
	switch {
	case class == "":
		return "", false
	case major == "*":
		return class + "-*", true
	case minor != "*":
		return "/dev/" + class + "/" + numbers, true
	}
	text, err := os.ReadFile("/proc/devices")
	if err != nil {
		return "", false
	}
	driver, ok := driverOf(string(text), class, major)
	return class + "-" + driver, ok
}

// driverOf looks a major number up in /proc/devices.
func driverOf(devices, class, major string) (string, bool) {
	section := ""
	for line := range strings.Lines(devices) {
		f := strings.Fields(line)
		switch {
		case len(f) == 2 && f[1] == "devices:":
			section = map[string]string{"Character": "char", "Block": "block"}[f[0]]
		case len(f) == 2 && section == class && f[0] == major:
			return f[1], true
		}
	}
	return "", false
}
