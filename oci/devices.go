package oci

import (
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ownDevices are the nodes that every container gets without being listed in
// its spec, by path: their type and numbers.
var ownDevices = map[string]specs.LinuxDevice{
	"/dev/null":    {Type: "c", Major: 1, Minor: 3},
	"/dev/zero":    {Type: "c", Major: 1, Minor: 5},
	"/dev/full":    {Type: "c", Major: 1, Minor: 7},
	"/dev/random":  {Type: "c", Major: 1, Minor: 8},
	"/dev/urandom": {Type: "c", Major: 1, Minor: 9},
	"/dev/tty":     {Type: "c", Major: 5, Minor: 0},
	"/dev/ptmx":    {Type: "c", Major: 5, Minor: 2},
	"/dev/console": {Type: "c", Major: 5, Minor: 1},
}

// devicesOf gives the nodes to make and the rules of the device cgroup:
// nothing but what every container has, what the request names and what its CDI
// devices bring. A privileged container has all of the host's.
func devicesOf(in ContainerInput) ([]specs.LinuxDevice, []specs.LinuxDeviceCgroup, error) {
	rules := baseRules()
	var nodes []specs.LinuxDevice
	all := allDevices(in)
	if all {
		rules = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	}
	if in.Container.GetLinux().GetSecurityContext().GetPrivileged() && !in.Host.WithoutDevices {
		for _, d := range in.Host.Devices {
			if ownNode(d.Path) {
				continue
			}
			nodes = append(nodes, d)
		}
	}
	for i, d := range in.Container.GetDevices() {
		found, err := requestedDevices(d, in.Host)
		if err != nil {
			return nil, nil, invalid("devices[%d]: %w", i, err)
		}
		for _, n := range found {
			if nodes, err = putOther(nodes, n); err != nil {
				return nil, nil, invalid("devices[%d]: container_path: %w", i, err)
			}
			if !all {
				rules = append(rules, rule(n.Type, n.Major, n.Minor, accessOf(d)))
			}
		}
	}
	return cdiDevices(in, nodes, rules)
}

// allDevices says whether a container may make and use every device: a
// privileged one, unless its handler keeps the host's devices from it.
func allDevices(in ContainerInput) bool {
	return in.Container.GetLinux().GetSecurityContext().GetPrivileged() && (!in.Host.WithoutDevices || in.Host.AnyDevice)
}

// ownNode says whether the runtime makes what is at this path of /dev itself.
func ownNode(p string) bool {
	_, own := ownDevices[p]
	return own || below(p, "/dev/pts") || below(p, "/dev/shm") || below(p, "/dev/mqueue")
}

// baseRules deny all, then let every container use its standard devices and
// make nodes, which it cannot open without a rule of their own.
func baseRules() []specs.LinuxDeviceCgroup {
	rules := []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		{Allow: true, Type: "c", Access: "m"},
		{Allow: true, Type: "b", Access: "m"},
	}
	for _, minor := range []int64{3, 5, 7, 8, 9} {
		rules = append(rules, rule("c", 1, minor, "rwm"))
	}
	ptys := rule("c", 136, 0, "rwm")
	ptys.Minor = nil
	return append(rules, rule("c", 5, 0, "rwm"), rule("c", 5, 2, "rwm"), ptys)
}

func rule(kind string, major, minor int64, access string) specs.LinuxDeviceCgroup {
	return specs.LinuxDeviceCgroup{Allow: true, Type: kind, Major: &major, Minor: &minor, Access: access}
}

func accessOf(d *runtimeapi.Device) string {
	if d.GetPermissions() == "" {
		return "rwm"
	}
	return d.GetPermissions()
}

// requestedDevices gives the node at a host path, or all below a directory,
// with their paths in the container.
func requestedDevices(d *runtimeapi.Device, host Host) ([]specs.LinuxDevice, error) {
	if err := checkDevice(d); err != nil {
		return nil, err
	}
	if host.ListDevices == nil {
		return nil, invalid("host_path: devices cannot be given to containers here")
	}
	src := path.Clean(d.GetHostPath())
	found, err := host.ListDevices(src)
	if err != nil {
		return nil, inField("host_path", err)
	}
	if len(found) == 0 {
		return nil, invalid("host_path: no device at %q", src)
	}
	dst := inContainer(d.GetContainerPath())
	out := make([]specs.LinuxDevice, 0, len(found))
	for _, n := range found {
		n.Path = path.Clean(n.Path)
		if !below(n.Path, src) {
			if len(found) > 1 {
				return nil, invalid("host_path: device %q is not below %q", n.Path, src)
			}
			n.Path = src // a link to a node elsewhere
		}
		n.Path = inContainer(dst + strings.TrimPrefix(n.Path, src))
		out = append(out, n)
	}
	return out, nil
}

func checkDevice(d *runtimeapi.Device) error {
	if err := checkAbsolute(d.GetHostPath()); err != nil {
		return inField("host_path", err)
	}
	if err := checkDevicePath(d.GetContainerPath()); err != nil {
		return inField("container_path", err)
	}
	return checkAccess(d.GetPermissions())
}

// checkDevicePath takes a path of a container where a node can be made.
func checkDevicePath(at string) error {
	if err := checkAbsolute(at); err != nil {
		return err
	}
	if p := inContainer(at); p == "/" || below(p, "/proc") || below(p, "/sys") {
		return invalid("no device can be made at %q", p)
	}
	return nil
}

// checkAccess takes what a cgroup's rule can allow.
func checkAccess(access string) error {
	rest := access
	for _, c := range "rwm" {
		rest = strings.Replace(rest, string(c), "", 1)
	}
	if rest != "" {
		return invalid("permissions: %q is not made of r, w and m", access)
	}
	return nil
}

// putOther is putDevice for a node that was asked for: one of the runtime's own
// stays as it is, and another device in its place is refused.
func putOther(nodes []specs.LinuxDevice, n specs.LinuxDevice) ([]specs.LinuxDevice, error) {
	own, ok := ownDevices[n.Path]
	switch {
	case !ok:
		return putDevice(nodes, n), nil
	case own.Type != n.Type || own.Major != n.Major || own.Minor != n.Minor:
		return nil, invalid("%q is the runtime's own", n.Path)
	}
	return nodes, nil
}

// putDevice adds a node, in place of one at the same path.
func putDevice(nodes []specs.LinuxDevice, n specs.LinuxDevice) []specs.LinuxDevice {
	nodes = slices.DeleteFunc(nodes, func(old specs.LinuxDevice) bool { return old.Path == n.Path })
	return append(nodes, n)
}
