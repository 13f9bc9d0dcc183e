package oci

import (
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// CheckContainer checks every field of a container request that can be checked
// without the host and the image, and names the first that is wrong; pod is the
// request of its pod.
func CheckContainer(cfg *runtimeapi.ContainerConfig, pod *runtimeapi.PodSandboxConfig) error {
	if cfg == nil {
		return invalid("container config: missing")
	}
	if err := checkName(cfg.GetMetadata().GetName()); err != nil {
		return inField("metadata.name", err)
	}
	if err := checkUnsupported(cfg); err != nil {
		return err
	}
	if err := checkImage(cfg.GetImage().GetImage()); err != nil {
		return inField("image", err)
	}
	if err := checkProcess(cfg); err != nil {
		return err
	}
	if _, err := LogPath(pod.GetLogDirectory(), cfg.GetLogPath()); err != nil {
		return err
	}
	for i, m := range cfg.GetMounts() {
		if err := checkMount(m); err != nil {
			return invalid("mounts[%d].%w", i, err)
		}
		if image := m.GetImage().GetImage(); image != "" && checkImage(image) != nil {
			return invalid("mounts[%d].image: %w", i, checkImage(image))
		}
		if asksUsers(pod.GetLinux().GetSecurityContext().GetNamespaceOptions().GetUsernsOptions()) &&
			m.GetPropagation() == runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL {
			return invalid("mounts[%d].propagation: no mount can reach the host out of a user namespace", i)
		}
	}
	for i, d := range cfg.GetDevices() {
		if err := checkDevice(d); err != nil {
			return invalid("devices[%d].%w", i, err)
		}
	}
	if err := CheckResources(cfg.GetLinux().GetResources()); err != nil {
		return inField("linux.resources", err)
	}
	return checkSecurity(cfg.GetLinux().GetSecurityContext(), pod)
}

func checkUnsupported(cfg *runtimeapi.ContainerConfig) error {
	if cfg.GetWindows() != nil {
		return invalid("windows: this is Linux")
	}
	_, err := CDIDevices(cfg)
	return err
}

// checkImage refuses what is no reference at all: a file path would be a
// checkpoint archive to other runtimes (CVE-2024-8676).
func checkImage(image string) error {
	switch {
	case image == "":
		return invalid("missing")
	case strings.HasPrefix(image, "/") || hasControl(image):
		return invalid("%q is not an image reference", image)
	}
	return nil
}

func checkSecurity(sc *runtimeapi.LinuxContainerSecurityContext, pod *runtimeapi.PodSandboxConfig) error {
	const field = "linux.security_context"
	if sc.GetPrivileged() && !pod.GetLinux().GetSecurityContext().GetPrivileged() {
		return invalid(field + ".privileged: the pod is not privileged")
	}
	options := sc.GetNamespaceOptions()
	if err := checkNamespaces(options); err != nil {
		return inField(field+".namespace_options", err)
	}
	users := pod.GetLinux().GetSecurityContext().GetNamespaceOptions().GetUsernsOptions()
	if err := checkSameUsers(options.GetUsernsOptions(), users); err != nil {
		return inField(field+".namespace_options", err)
	}
	if options.GetPid() == runtimeapi.NamespaceMode_TARGET && options.GetTargetId() == "" {
		return invalid(field + ".namespace_options.target_id: missing")
	}
	for name, paths := range map[string][]string{"masked_paths": sc.GetMaskedPaths(), "readonly_paths": sc.GetReadonlyPaths()} {
		for _, p := range paths {
			if err := checkAbsolute(p); err != nil {
				return inField(field+"."+name, err)
			}
		}
	}
	if err := checkShared(options, pod.GetLinux().GetSecurityContext().GetNamespaceOptions()); err != nil {
		return inField(field+".namespace_options", err)
	}
	if err := checkCapabilities(sc.GetCapabilities()); err != nil {
		return inField(field, err)
	}
	if err := checkConfinement(sc); err != nil {
		return inField(field, err)
	}
	_, err := UserOf(&runtimeapi.ContainerConfig{Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: sc}}, ImageConfig{})
	return inField(field, err)
}
