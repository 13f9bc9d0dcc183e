package cgroup

import (
	"fmt"

	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // fills cgroups.DevicesSetV1 and V2
	devices "github.com/opencontainers/cgroups/devices/config"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// setDevices applies device rules in order: v1 by the smallest set of writes to
// devices.allow and devices.deny that leads there, v2 by an eBPF program. Nothing
// happens without rules: a spec that wants no device says so with a deny rule.
//
// On v2 the library forgives a program that cannot be loaded when every rule
// allows everything; then nothing was to be denied.
func (g *Group) setDevices(rules []specs.LinuxDeviceCgroup) error {
	if len(rules) == 0 {
		return nil
	}
	list := make([]*devices.Rule, 0, len(rules))
	for _, r := range rules {
		rule, err := deviceRule(r)
		if err != nil {
			return err
		}
		list = append(list, rule)
	}
	res := &cgroups.Resources{Devices: list}
	set := cgroups.DevicesSetV1
	d, ok := g.at("devices")
	if g.tree.v2 {
		set = cgroups.DevicesSetV2
	}
	if !ok {
		return fmt.Errorf("device rules: no devices controller here: %w", ErrUnsupported)
	}
	// Through the open directory: no path that somebody could have changed.
	if err := set(fmt.Sprintf("/proc/self/fd/%d", d.fd()), res); err != nil {
		return fmt.Errorf("device rules: %w", err)
	}
	return nil
}

func deviceRule(r specs.LinuxDeviceCgroup) (*devices.Rule, error) {
	rule := &devices.Rule{Type: devices.WildcardDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: devices.Permissions(r.Access), Allow: r.Allow}
	switch r.Type {
	case "", "a":
	case "b":
		rule.Type = devices.BlockDevice
	case "c":
		rule.Type = devices.CharDevice
	default:
		return nil, fmt.Errorf("device rule of type %q: %w", r.Type, ErrInvalid)
	}
	if r.Major != nil {
		rule.Major = *r.Major
	}
	if r.Minor != nil {
		rule.Minor = *r.Minor
	}
	if rule.Permissions == "" {
		rule.Permissions = "rwm"
	}
	if !rule.Permissions.IsValid() {
		return nil, fmt.Errorf("device rule with access %q: %w", r.Access, ErrInvalid)
	}
	return rule, nil
}
