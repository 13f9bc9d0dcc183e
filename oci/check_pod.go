package oci

import (
	"path"
	"slices"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// CheckPod checks every field of a pod request that can be checked without the
// host, and names the first that is wrong.
func CheckPod(cfg *runtimeapi.PodSandboxConfig) error {
	if cfg == nil {
		return invalid("pod sandbox config: missing")
	}
	for _, f := range []struct{ name, value string }{
		{"name", cfg.GetMetadata().GetName()},
		{"namespace", cfg.GetMetadata().GetNamespace()},
		{"uid", cfg.GetMetadata().GetUid()},
	} {
		if err := checkName(f.value); err != nil {
			return inField("metadata."+f.name, err)
		}
	}
	if cfg.GetWindows() != nil {
		return invalid("windows: this is Linux")
	}
	if err := checkHostname(cfg.GetHostname()); err != nil {
		return inField("hostname", err)
	}
	if d := cfg.GetLogDirectory(); d != "" {
		if err := checkAbsolute(d); err != nil || hasControl(d) {
			return invalid("log_directory: %q is not an absolute path", d)
		}
	}
	if err := checkDNS(cfg.GetDnsConfig()); err != nil {
		return err
	}
	for i, p := range cfg.GetPortMappings() {
		if err := checkPort(p); err != nil {
			return invalid("port_mappings[%d].%w", i, err)
		}
	}
	return checkLinuxPod(cfg)
}

func checkPort(p *runtimeapi.PortMapping) error {
	if _, ok := runtimeapi.Protocol_name[int32(p.GetProtocol())]; !ok {
		return invalid("protocol: unknown value %d", p.GetProtocol())
	}
	if n := p.GetContainerPort(); n < 1 || n > 65535 {
		// A mapping without a host port does nothing; the kubelet sends them.
		if n != 0 || p.GetHostPort() != 0 {
			return invalid("container_port: %d is not in 1..65535", n)
		}
	}
	if n := p.GetHostPort(); n < 0 || n > 65535 {
		return invalid("host_port: %d is not in 0..65535", n)
	}
	if ip := p.GetHostIp(); ip != "" && !isAddress(ip) {
		return invalid("host_ip: %q is not an address", ip)
	}
	return nil
}

func checkLinuxPod(cfg *runtimeapi.PodSandboxConfig) error {
	if err := checkCgroupParent(cfg.GetLinux().GetCgroupParent()); err != nil {
		return inField("linux.cgroup_parent", err)
	}
	options := cfg.GetLinux().GetSecurityContext().GetNamespaceOptions()
	if err := checkNamespaces(options); err != nil {
		return inField("linux.security_context.namespace_options", err)
	}
	if options.GetPid() == runtimeapi.NamespaceMode_TARGET {
		return invalid("linux.security_context.namespace_options.pid: TARGET is for containers")
	}
	if err := checkPodSecurity(cfg.GetLinux().GetSecurityContext()); err != nil {
		return inField("linux.security_context", err)
	}
	if err := CheckResources(cfg.GetLinux().GetOverhead()); err != nil {
		return inField("linux.overhead", err)
	}
	if err := CheckResources(cfg.GetLinux().GetResources()); err != nil {
		return inField("linux.resources", err)
	}
	_, err := PodSysctls(cfg)
	return inField("linux", err)
}

// checkPodSecurity checks what is said about the process of a pod. There is
// none, so that no more than the form counts: a group without a user, which a
// kubelet sends, is fine.
func checkPodSecurity(sc *runtimeapi.LinuxSandboxSecurityContext) error {
	asContainer := &runtimeapi.LinuxContainerSecurityContext{
		SelinuxOptions: sc.GetSelinuxOptions(),
		Seccomp:        sc.GetSeccomp(),
		Apparmor:       sc.GetApparmor(),
		//lint:ignore SA1019 old clients send it
		SeccompProfilePath: sc.GetSeccompProfilePath(),
		// A kubelet gives the groups of a pod to its containers as they are.
		SupplementalGroups:       sc.GetSupplementalGroups(),
		SupplementalGroupsPolicy: sc.GetSupplementalGroupsPolicy(),
	}
	if err := checkConfinement(asContainer); err != nil {
		return err
	}
	for name, id := range map[string]*runtimeapi.Int64Value{"run_as_user": sc.GetRunAsUser(), "run_as_group": sc.GetRunAsGroup()} {
		if err := checkID(id.GetValue()); err != nil {
			return inField(name, err)
		}
	}
	_, err := UserOf(&runtimeapi.ContainerConfig{Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: asContainer}}, ImageConfig{})
	return err
}

// checkCgroupParent takes a cgroupfs path, with or without a slash in front, or
// the name of a slice.
func checkCgroupParent(p string) error {
	if p == "" {
		return nil
	}
	if err := checkPath(p); err != nil {
		return err
	}
	// The root is nobody's: whoever limits or removes the parent means all.
	if plain := "/" + strings.Trim(p, "/"); hasControl(p) || plain == "/" || path.Clean(plain) != plain {
		return invalid("%q is not a plain path below the root", p)
	}
	return nil
}

// checkNamespaces checks modes that mean the same for pods and containers.
func checkNamespaces(o *runtimeapi.NamespaceOption) error {
	for _, f := range []struct {
		name    string
		mode    runtimeapi.NamespaceMode
		allowed []runtimeapi.NamespaceMode
	}{
		{"network", o.GetNetwork(), []runtimeapi.NamespaceMode{runtimeapi.NamespaceMode_POD, runtimeapi.NamespaceMode_NODE}},
		{"ipc", o.GetIpc(), []runtimeapi.NamespaceMode{runtimeapi.NamespaceMode_POD, runtimeapi.NamespaceMode_NODE}},
		{"pid", o.GetPid(), []runtimeapi.NamespaceMode{
			runtimeapi.NamespaceMode_POD, runtimeapi.NamespaceMode_CONTAINER,
			runtimeapi.NamespaceMode_NODE, runtimeapi.NamespaceMode_TARGET,
		}},
	} {
		if !slices.Contains(f.allowed, f.mode) {
			return invalid("%s: mode %s is not possible", f.name, f.mode)
		}
	}
	return inField("userns_options", checkUsers(o.GetUsernsOptions()))
}
