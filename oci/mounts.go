package oci

import (
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// MountTypeImage marks an image volume in a spec: Source is the image as the
// request names it, and the sandbox puts the image's tree there.
const MountTypeImage = "image"

// systemMounts are what every container has.
func systemMounts(privileged bool) []specs.Mount {
	access := "ro"
	if privileged {
		access = "rw"
	}
	mount := func(kind, dst, src string, options ...string) specs.Mount {
		return specs.Mount{Destination: dst, Type: kind, Source: src, Options: options}
	}
	return []specs.Mount{
		mount("proc", "/proc", "proc", "nosuid", "noexec", "nodev"),
		mount("tmpfs", "/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
		mount("devpts", "/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
		mount("mqueue", "/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
		mount("sysfs", "/sys", "sysfs", "nosuid", "noexec", "nodev", access),
		mount("cgroup", "/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", access),
	}
}

// mountsOf gives all mounts in the order to make them, and the propagation of
// the root that they need: the system's, but for those that a mount of the
// request covers, then files of the pod, volumes of the image and mounts of the
// request, parents before what lies below them. Two of the request on one path
// both stay, in its order: the later covers the earlier.
func mountsOf(in ContainerInput) (mounts []specs.Mount, propagation string, err error) {
	sc := in.Container.GetLinux().GetSecurityContext()
	covered := make(map[string]bool)
	var requested []specs.Mount
	for i, m := range in.Container.GetMounts() {
		mount, wanted, err := mountOf(m)
		if err != nil {
			return nil, "", invalid("mounts[%d]: %w", i, err)
		}
		if mount.Type == MountTypeImage && mount.UIDMappings == nil {
			mount.UIDMappings, mount.GIDMappings = UserNamespace(in.Pod)
		}
		if m.GetRecursiveReadOnly() && !in.Host.RecursiveReadonly {
			return nil, "", &RROUnsupportedError{Destination: mount.Destination}
		}
		covered[mount.Destination] = true
		requested = append(requested, mount)
		propagation = strongest(propagation, wanted)
	}
	ofDevices, wanted, err := cdiMounts(in)
	if err != nil {
		return nil, "", err
	}
	for _, m := range ofDevices {
		covered[m.Destination] = true
	}
	requested = append(requested, ofDevices...)
	propagation = strongest(propagation, wanted)
	for _, m := range systemMounts(sc.GetPrivileged()) {
		if !covered[m.Destination] && !(covered["/dev"] && below(m.Destination, "/dev")) {
			mounts = append(mounts, m)
		}
	}
	more, err := ownBinds(in, covered)
	if err != nil {
		return nil, "", err
	}
	more = append(more, requested...)
	slices.SortStableFunc(more, func(a, b specs.Mount) int { return depth(a.Destination) - depth(b.Destination) })
	return append(mounts, more...), propagation, nil
}

func depth(p string) int {
	if p == "/" {
		return 0
	}
	return strings.Count(p, "/")
}

// ownBinds are the pod's files and the image's volumes, where no mount of the
// request stands.
func ownBinds(in ContainerInput, covered map[string]bool) ([]specs.Mount, error) {
	readonlyRoot := in.Container.GetLinux().GetSecurityContext().GetReadonlyRootfs()
	uids, gids := UserNamespace(in.Pod)
	var out []specs.Mount
	add := func(src, dst string, readonly bool) error {
		if err := checkAbsolute(src); err != nil {
			return inField("source of "+dst, err)
		}
		if dst = inContainer(dst); !covered[dst] {
			out = append(out, bind(src, dst, readonly, "rprivate"))
		}
		return nil
	}
	for _, f := range in.Files {
		if err := add(f.Source, f.Destination, f.Readonly || readonlyRoot && f.Destination != "/dev/shm"); err != nil {
			return nil, err
		}
	}
	for _, v := range in.Volumes {
		if err := checkDestination(v.Destination, ""); err != nil {
			return nil, inField("volume of the image", err)
		}
		n := len(out)
		if err := add(v.Source, v.Destination, false); err != nil {
			return nil, err
		}
		if len(out) > n { // its files are the image's
			out[n].UIDMappings, out[n].GIDMappings = uids, gids
		}
	}
	return out, nil
}

func bind(src, dst string, readonly bool, propagation string) specs.Mount {
	access := "rw"
	if readonly {
		access = "ro"
	}
	return specs.Mount{Destination: dst, Type: "bind", Source: src, Options: []string{"rbind", propagation, access}}
}

// mountOf gives one mount of the request and the root propagation it needs.
func mountOf(m *runtimeapi.Mount) (specs.Mount, string, error) {
	if err := checkMount(m); err != nil {
		return specs.Mount{}, "", err
	}
	dst := inContainer(m.GetContainerPath())
	if image := m.GetImage().GetImage(); image != "" {
		out := bind(image, dst, true, "rprivate")
		out.Type = MountTypeImage
		return withRequest(out, m), "", nil
	}
	var own, root string
	switch m.GetPropagation() {
	case runtimeapi.MountPropagation_PROPAGATION_PRIVATE:
		own = "rprivate"
	case runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER:
		own, root = "rslave", "rslave"
	case runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL:
		own, root = "rshared", "rshared"
	}
	out := bind(path.Clean(m.GetHostPath()), dst, m.GetReadonly(), own)
	if m.GetRecursiveReadOnly() {
		out.Options = append(out.Options, "rro")
	}
	return withRequest(out, m), root, nil
}

// withRequest adds what a request says of ids and options.
func withRequest(out specs.Mount, m *runtimeapi.Mount) specs.Mount {
	out.Options = append(out.Options, m.GetMountOptions()...)
	out.UIDMappings, out.GIDMappings = idMapOf(m.GetUidMappings()), idMapOf(m.GetGidMappings())
	return out
}

func strongest(a, b string) string {
	if a == "rshared" || b == "" {
		return a
	}
	return b
}

// checkMount checks one mount of a request, without the host.
func checkMount(m *runtimeapi.Mount) error {
	host, image := m.GetHostPath(), m.GetImage().GetImage()
	if err := checkPath(m.GetContainerPath()); err != nil {
		return inField("container_path", err)
	}
	switch {
	case image != "" && host != "":
		return invalid("host_path and image: only one can be given")
	case image != "":
		if err := checkImageMount(m); err != nil {
			return err
		}
	default:
		if m.GetImageSubPath() != "" {
			return invalid("image_sub_path: given without image")
		}
		if err := checkAbsolute(host); err != nil {
			return inField("host_path", err)
		}
	}
	if err := checkDestination(m.GetContainerPath(), host); err != nil {
		return inField("container_path", err)
	}
	return checkMountMode(m)
}

func checkImageMount(m *runtimeapi.Mount) error {
	sub := m.GetImageSubPath()
	if sub == "" {
		return nil
	}
	if err := checkPath(sub); err != nil {
		return inField("image_sub_path", err)
	}
	if path.IsAbs(sub) || slices.Contains(strings.Split(sub, "/"), "..") {
		return invalid("image_sub_path: %q leaves the image", sub)
	}
	return nil
}

func checkMountMode(m *runtimeapi.Mount) error {
	if _, ok := runtimeapi.MountPropagation_name[int32(m.GetPropagation())]; !ok {
		return invalid("propagation: unknown value %d", m.GetPropagation())
	}
	if m.GetRecursiveReadOnly() {
		if !m.GetReadonly() {
			return invalid("recursive_read_only: needs readonly")
		}
		if m.GetPropagation() != runtimeapi.MountPropagation_PROPAGATION_PRIVATE {
			return invalid("recursive_read_only: needs private propagation")
		}
	}
	if (len(m.GetUidMappings()) > 0) != (len(m.GetGidMappings()) > 0) {
		return invalid("uidMappings, gidMappings: one without the other")
	}
	if err := checkIDMap(m.GetUidMappings()); err != nil {
		return inField("uidMappings", err)
	}
	if err := checkIDMap(m.GetGidMappings()); err != nil {
		return inField("gidMappings", err)
	}
	return checkMountOptions(m)
}

// underProc are the files below /proc that tools such as lxcfs replace; all
// else there decides what the runtime's own writes reach (CVE-2025-52881).
var underProc = []string{
	"/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/slabinfo",
	"/proc/stat", "/proc/swaps", "/proc/uptime", "/proc/net/dev",
	"/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled",
}

// checkDestination refuses mounts that would hide what confinement relies on.
// Below /sys everything is allowed: /sys/fs/bpf and the like are common.
func checkDestination(dst, src string) error {
	switch p := inContainer(dst); {
	case p == "/":
		return invalid("the root of the container cannot be a mount")
	case p == "/proc" && path.Clean(src) != "/proc":
		return invalid("only the host's own /proc can be mounted at /proc")
	case p != "/proc" && below(p, "/proc") && !slices.Contains(underProc, p):
		return invalid("%q: mounts below /proc are not allowed, but for %s", p, strings.Join(underProc, " "))
	}
	return nil
}

// VolumePaths lists the destinations of the image's VOLUMEs that no mount of
// the request covers, cleaned and sorted: the directories that a container
// needs. Paths are hostile (CVE-2022-23648): resolve them inside the root only.
func VolumePaths(img ImageConfig, c *runtimeapi.ContainerConfig) ([]string, error) {
	var out []string
	for v := range img.Volumes {
		if err := checkPath(v); err != nil {
			return nil, inField("volume of the image", err)
		}
		p := inContainer(v)
		if slices.ContainsFunc(c.GetMounts(), func(m *runtimeapi.Mount) bool { return inContainer(m.GetContainerPath()) == p }) {
			continue
		}
		if err := checkDestination(p, ""); err != nil {
			return nil, inField("volume of the image", err)
		}
		out = append(out, p)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
