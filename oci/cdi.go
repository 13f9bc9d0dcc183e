package oci

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"tags.cncf.io/container-device-interface/pkg/parser"
	cdi "tags.cncf.io/container-device-interface/specs-go"
)

// cdiAnnotations begin annotations by which device plugins ask for CDI devices;
// the value is a list with commas. The kubelet sets them, not the pod's author.
const cdiAnnotations = "cdi.k8s.io/"

// DeviceEdits are what one CDI device, or all of one vendor's file, changes
// about a container.
type DeviceEdits struct {
	From  string // for messages: the device, or the file
	Edits cdi.ContainerEdits
}

// CDIDevices lists the CDI devices that a container asks for, each once: those
// of the field first, as containerd has it, then those of annotations.
func CDIDevices(c *runtimeapi.ContainerConfig) ([]string, error) {
	var names []string
	add := func(field, name string) error {
		if _, _, _, err := parser.ParseQualifiedName(name); err != nil {
			return invalid("%s: %q is no CDI device: want VENDOR/CLASS=NAME", field, name)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		return nil
	}
	for _, d := range c.GetCDIDevices() {
		if err := add("CDI_devices", d.GetName()); err != nil {
			return nil, err
		}
	}
	annotations := c.GetAnnotations()
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if !strings.HasPrefix(key, cdiAnnotations) {
			continue
		}
		for name := range strings.SplitSeq(annotations[key], ",") {
			if err := add("annotation "+key, name); err != nil {
				return nil, err
			}
		}
	}
	return names, nil
}

// checkCDI refuses what a container would silently lack: there is nothing here
// that runs hooks, moves network interfaces or sets up resctrl.
func checkCDI(in ContainerInput) error {
	names, err := CDIDevices(in.Container)
	if err != nil {
		return err
	}
	if len(names) > 0 && len(in.CDI) == 0 {
		return invalid("CDI device %q: nobody looked for it", names[0])
	}
	for _, d := range in.CDI {
		e := &d.Edits
		switch {
		case len(e.Hooks) > 0:
			return invalid("CDI %s: it wants the hook %q (%s), and this runtime runs no hooks", d.From, e.Hooks[0].Path, e.Hooks[0].HookName)
		case len(e.NetDevices) > 0:
			return invalid("CDI %s: it wants the network interface %q, and this runtime moves none", d.From, e.NetDevices[0].HostInterfaceName)
		case e.IntelRdt != nil:
			return invalid("CDI %s: it wants Intel RDT, which this runtime does not set up", d.From)
		}
	}
	return nil
}

// cdiEnv adds what the devices set: it wins over the request, as elsewhere.
func cdiEnv(env environment, all []DeviceEdits) (environment, error) {
	for _, d := range all {
		for _, entry := range d.Edits.Env {
			key, value, _ := strings.Cut(entry, "=")
			if err := checkEnv(key, value); err != nil {
				return nil, invalid("CDI %s: env: %w", d.From, err)
			}
			env.set(key, value)
		}
	}
	return env, nil
}

// cdiGroups adds the groups of the devices. Group 0 is never given that way.
func cdiGroups(groups []uint32, all []DeviceEdits) []uint32 {
	out := slices.Clone(groups)
	for _, d := range all {
		for _, g := range d.Edits.AdditionalGIDs {
			if g != 0 && !slices.Contains(out, g) {
				out = append(out, g)
			}
		}
	}
	return out
}

// cdiMounts gives the mounts of the devices, and the propagation of the root
// that they need.
func cdiMounts(in ContainerInput) (mounts []specs.Mount, propagation string, err error) {
	for _, d := range in.CDI {
		for _, m := range d.Edits.Mounts {
			mount, root, err := cdiMount(m, in.Host)
			if err != nil {
				return nil, "", invalid("CDI %s: mount %q: %w", d.From, m.ContainerPath, err)
			}
			mounts = append(mounts, mount)
			propagation = strongest(propagation, root)
		}
	}
	return mounts, propagation, nil
}

func cdiMount(m *cdi.Mount, host Host) (out specs.Mount, root string, err error) {
	if !slices.Contains([]string{"", "none", "bind"}, m.Type) {
		return out, "", invalid("type %q: only bind mounts can be made", m.Type)
	}
	if err := checkAbsolute(m.HostPath); err != nil {
		return out, "", inField("hostPath", err)
	}
	if err := checkPath(m.ContainerPath); err != nil {
		return out, "", inField("containerPath", err)
	}
	if err := checkDestination(m.ContainerPath, m.HostPath); err != nil {
		return out, "", inField("containerPath", err)
	}
	bind, own := "rbind", "rprivate"
	var rest []string
	for _, o := range m.Options {
		switch o {
		case "bind", "rbind":
			bind = o
		case "private", "rprivate":
			own = o
		case "slave", "rslave":
			own, root = o, strongest(root, "rslave")
		case "shared", "rshared":
			own, root = o, "rshared"
		case "rro":
			if !host.RecursiveReadonly {
				return out, "", &RROUnsupportedError{Destination: inContainer(m.ContainerPath)}
			}
			rest = append(rest, o)
		case "ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "nosymfollow",
			"noatime", "relatime", "strictatime", "nodiratime":
			rest = append(rest, o)
		default:
			return out, "", invalid("option %q is not supported", o)
		}
	}
	return specs.Mount{
		Destination: inContainer(m.ContainerPath), Type: "bind", Source: path.Clean(m.HostPath),
		Options: append([]string{bind, own}, rest...),
	}, root, nil
}

// cdiDevices adds the nodes of the devices, and the rules for their use.
func cdiDevices(in ContainerInput, nodes []specs.LinuxDevice, rules []specs.LinuxDeviceCgroup) ([]specs.LinuxDevice, []specs.LinuxDeviceCgroup, error) {
	for _, d := range in.CDI {
		for _, want := range d.Edits.DeviceNodes {
			n, err := cdiNode(want, in)
			if err == nil {
				nodes, err = putOther(nodes, n)
			}
			if err != nil {
				return nil, nil, invalid("CDI %s: device %q: %w", d.From, want.Path, err)
			}
			if n.Type == "p" || want.Permissions == "none" || allDevices(in) {
				continue
			}
			access := want.Permissions
			if access == "" {
				access = "rwm"
			}
			rules = append(rules, rule(n.Type, n.Major, n.Minor, access))
		}
	}
	return nodes, rules, nil
}

// cdiNode is a node as its description wants it; what that leaves out is as on
// the host. It belongs to the container's user, where nobody else is named.
func cdiNode(want *cdi.DeviceNode, in ContainerInput) (specs.LinuxDevice, error) {
	none := specs.LinuxDevice{}
	if err := checkDevicePath(want.Path); err != nil {
		return none, inField("path", err)
	}
	if err := checkAccess(want.Permissions); err != nil && want.Permissions != "none" {
		return none, err
	}
	host := want.HostPath
	if host == "" {
		host = want.Path
	}
	if err := checkAbsolute(host); err != nil {
		return none, inField("hostPath", err)
	}
	n := specs.LinuxDevice{Type: want.Type, Major: want.Major, Minor: want.Minor}
	if n.Type == "u" {
		n.Type = "c"
	}
	found, err := hostDevice(path.Clean(host), in.Host)
	switch {
	case err != nil && (n.Type == "" || n.Major == 0 && n.Type != "p"):
		return none, inField("hostPath", err)
	case err != nil: // it says all that is needed itself
	case n.Type != "" && n.Type != found.Type:
		return none, invalid("type: %q, and on the host it is %q", want.Type, found.Type)
	default:
		n.Type, n.FileMode = found.Type, found.FileMode
		if n.Major == 0 && n.Minor == 0 {
			n.Major, n.Minor = found.Major, found.Minor
		}
	}
	n.Path, n.UID, n.GID = inContainer(want.Path), want.UID, want.GID
	if want.FileMode != nil {
		n.FileMode = want.FileMode
	}
	if n.UID == nil && in.User.UID > 0 {
		n.UID = &in.User.UID
	}
	if n.GID == nil && in.User.GID > 0 {
		n.GID = &in.User.GID
	}
	return n, nil
}

// hostDevice gives the one node at a path of the host.
func hostDevice(p string, host Host) (specs.LinuxDevice, error) {
	if host.ListDevices == nil {
		return specs.LinuxDevice{}, invalid("devices cannot be given to containers here")
	}
	found, err := host.ListDevices(p)
	if err != nil {
		return specs.LinuxDevice{}, err
	}
	if len(found) != 1 || path.Clean(found[0].Path) != p {
		return specs.LinuxDevice{}, invalid("no device at %q", p)
	}
	return found[0], nil
}
