package oci

import (
	"maps"
	"path"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Container gives the spec of a container: process, mounts, namespaces, limits,
// confinement. ErrInvalid names what cannot be granted.
func Container(in ContainerInput) (*specs.Spec, error) {
	if err := CheckContainer(in.Container, in.Pod); err != nil {
		return nil, err
	}
	if err := checkCDI(in); err != nil {
		return nil, err
	}
	sc := in.Container.GetLinux().GetSecurityContext()
	process, err := processOf(in)
	if err != nil {
		return nil, err
	}
	linux, err := linuxOf(in)
	if err != nil {
		return nil, err
	}
	if err := joinUsers(in, linux); err != nil {
		return nil, err
	}
	mounts, propagation, err := mountsOf(in)
	if err != nil {
		return nil, err
	}
	linux.RootfsPropagation = propagation
	if hostDev(mounts) {
		// Making nodes would make them in the host's /dev.
		linux.Devices = slices.DeleteFunc(linux.Devices, func(d specs.LinuxDevice) bool { return below(d.Path, "/dev") })
	}
	if linux.Seccomp, err = seccompOf(in, process.Capabilities); err != nil {
		return nil, err
	}
	if process.SelinuxLabel, linux.MountLabel, err = seLinuxOf(sc, in.Host); err != nil {
		return nil, err
	}
	return &specs.Spec{
		Version:     specs.Version,
		Process:     process,
		Root:        &specs.Root{Path: "rootfs", Readonly: sc.GetReadonlyRootfs()},
		Mounts:      mounts,
		Annotations: annotationsOf(in),
		Linux:       linux,
	}, nil
}

// hostDev says whether a mount of the request stands at /dev.
func hostDev(mounts []specs.Mount) bool {
	return slices.ContainsFunc(mounts, func(m specs.Mount) bool { return m.Destination == "/dev" && m.Type != "tmpfs" })
}

func processOf(in ContainerInput) (*specs.Process, error) {
	sc := in.Container.GetLinux().GetSecurityContext()
	args, err := argsOf(in.Container, in.Image)
	if err != nil {
		return nil, err
	}
	env, err := environmentOf(in)
	if err != nil {
		return nil, err
	}
	cwd, err := workingDir(in.Container, in.Image)
	if err != nil {
		return nil, err
	}
	caps, err := capabilitiesOf(sc, in.Host)
	if err != nil {
		return nil, err
	}
	appArmor, err := appArmorOf(sc, in.Host)
	if err != nil {
		return nil, err
	}
	return &specs.Process{
		Terminal:        in.Container.GetTty(),
		User:            specs.User{UID: in.User.UID, GID: in.User.GID, AdditionalGids: cdiGroups(in.User.Groups, in.CDI)},
		Args:            args,
		Env:             env,
		Cwd:             cwd,
		Capabilities:    caps,
		Rlimits:         slices.Clone(in.Host.Ulimits),
		NoNewPrivileges: sc.GetNoNewPrivs(),
		ApparmorProfile: appArmor,
		OOMScoreAdj:     oomScoreAdj(in.Container.GetLinux().GetResources(), in.Host),
	}, nil
}

func linuxOf(in ContainerInput) (*specs.Linux, error) {
	resources, err := Resources(in.Container.GetLinux().GetResources(), in.Host)
	if err != nil {
		return nil, inField("resources", err)
	}
	devices, rules, err := devicesOf(in)
	if err != nil {
		return nil, err
	}
	resources.Devices = rules
	masked, readonly := hiddenPaths(in.Container.GetLinux().GetSecurityContext())
	return &specs.Linux{
		Resources:     resources,
		CgroupsPath:   in.CgroupsPath,
		Namespaces:    namespacesOf(in.Namespaces),
		Devices:       devices,
		MaskedPaths:   masked,
		ReadonlyPaths: readonly,
	}, nil
}

// hiddenPaths gives the masked and read-only paths. The lists of the request
// are taken as they are, as containerd takes them: empty means none (the
// kubelet's procMount: Unmasked). Only a request without any security context,
// which cannot have meant that, gets the usual lists. Privileged has none.
func hiddenPaths(sc *runtimeapi.LinuxContainerSecurityContext) (masked, readonly []string) {
	if sc == nil {
		return slices.Clone(defaultMasked), slices.Clone(defaultReadonly)
	}
	if sc.GetPrivileged() {
		return nil, nil
	}
	return cleanAll(sc.GetMaskedPaths()), cleanAll(sc.GetReadonlyPaths())
}

func cleanAll(paths []string) []string {
	var out []string
	for _, p := range paths {
		out = append(out, path.Clean(p))
	}
	return out
}

// defaultMasked and defaultReadonly are the kubelet's lists.
var (
	defaultMasked = []string{
		"/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
		"/sys/firmware", "/sys/devices/virtual/powercap",
	}
	defaultReadonly = []string{
		"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
	}
)

// namespacesOf lists namespaces in a fixed order. A container without a mount
// namespace of its own would mount in the host's, so that one is always there.
func namespacesOf(m map[specs.LinuxNamespaceType]string) []specs.LinuxNamespace {
	all := maps.Clone(m)
	if all == nil {
		all = map[specs.LinuxNamespaceType]string{}
	}
	all[specs.MountNamespace] = ""
	var out []specs.LinuxNamespace
	for _, t := range slices.Sorted(maps.Keys(all)) {
		out = append(out, specs.LinuxNamespace{Type: t, Path: all[t]})
	}
	return out
}
