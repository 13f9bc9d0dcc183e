package oci

import (
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// appArmorOf gives the name of a container's AppArmor profile, "" for none. A
// host without AppArmor has no RuntimeDefault, and the kubelet knows; on one
// with it, whatever is asked for must be loaded, or the container is refused.
func appArmorOf(sc *runtimeapi.LinuxContainerSecurityContext, host Host) (string, error) {
	p, err := appArmorRequest(sc)
	if err != nil {
		return "", err
	}
	switch p.GetProfileType() {
	case runtimeapi.SecurityProfile_Unconfined:
		return "", nil
	case runtimeapi.SecurityProfile_RuntimeDefault:
		return appArmorDefault(sc, host)
	}
	name := strings.TrimPrefix(p.GetLocalhostRef(), localhostPrefix)
	switch {
	case name == "" || hasControl(name):
		return "", invalid("apparmor.localhost_ref: %q", name)
	case host.AppArmor == nil:
		return "", invalid("apparmor: profile %q: the host has no AppArmor", name)
	case host.AppArmor.Loaded == nil || !host.AppArmor.Loaded(name):
		return "", invalid("apparmor: profile %q is not loaded", name)
	}
	return name, nil
}

// appArmorDefault is RuntimeDefault. Where it cannot be had, who asked for it is
// refused; who asked for nothing is not confined, as on a host without AppArmor.
func appArmorDefault(sc *runtimeapi.LinuxContainerSecurityContext, host Host) (string, error) {
	a := host.AppArmor
	if a == nil || sc.GetPrivileged() {
		return "", nil
	}
	//lint:ignore SA1019 old clients send it
	asked := sc.GetApparmor() != nil || sc.GetApparmorProfile() != ""
	switch {
	case a.Default == "" && !asked:
		return "", nil
	case a.Default == "" && a.Missing != nil:
		return "", invalid("apparmor: RuntimeDefault: %w", a.Missing)
	case a.Default == "":
		return "", invalid("apparmor: RuntimeDefault: the host has no profile for it")
	case a.Loaded != nil && !a.Loaded(a.Default):
		return "", invalid("apparmor: RuntimeDefault: profile %q is not loaded any more: a restart of slipway loads its own", a.Default)
	}
	return a.Default, nil
}

func appArmorRequest(sc *runtimeapi.LinuxContainerSecurityContext) (*runtimeapi.SecurityProfile, error) {
	if p := sc.GetApparmor(); p != nil {
		if _, ok := runtimeapi.SecurityProfile_ProfileType_name[int32(p.GetProfileType())]; !ok {
			return nil, invalid("apparmor.profile_type: unknown value %d", p.GetProfileType())
		}
		return p, nil
	}
	//lint:ignore SA1019 old clients send it
	old := sc.GetApparmorProfile()
	switch {
	case old == "" || old == "runtime/default":
		return &runtimeapi.SecurityProfile{}, nil
	case old == "unconfined":
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}, nil
	case strings.HasPrefix(old, localhostPrefix):
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: old}, nil
	default:
		return nil, invalid("apparmor_profile: unknown profile %q", old)
	}
}

// seLinuxOf gives the process and mount labels of a container, "" for none.
// Privileged is unconfined unless a label is asked for.
func seLinuxOf(sc *runtimeapi.LinuxContainerSecurityContext, host Host) (process, mount string, err error) {
	o := sc.GetSelinuxOptions()
	asked := o.GetUser() != "" || o.GetRole() != "" || o.GetType() != "" || o.GetLevel() != ""
	if host.SELinux == nil {
		if asked {
			return "", "", invalid("selinux_options: the host has no SELinux")
		}
		return "", "", nil
	}
	if !asked && sc.GetPrivileged() {
		return "", "", nil
	}
	for _, part := range []string{o.GetUser(), o.GetRole(), o.GetType(), o.GetLevel()} {
		if hasControl(part) || strings.ContainsAny(part, " \"") {
			return "", "", invalid("selinux_options: %q", part)
		}
	}
	process = label(host.SELinux.Process, o.GetUser(), o.GetRole(), o.GetType(), o.GetLevel())
	mount = label(host.SELinux.Mount, "", "", "", o.GetLevel())
	return process, mount, nil
}

// label replaces the parts of user:role:type:level that are given; a level has
// colons of its own.
func label(base string, parts ...string) string {
	have := strings.SplitN(base, ":", 4)
	for i, p := range parts {
		for p != "" && len(have) <= i {
			have = append(have, "")
		}
		if p != "" {
			have[i] = p
		}
	}
	return strings.Join(have, ":")
}
