package oci

import (
	"slices"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// checkProcess checks what a container's process is started with, as far as the
// request says it; what the image adds is checked with it later.
func checkProcess(cfg *runtimeapi.ContainerConfig) error {
	command, args := cfg.GetCommand(), cfg.GetArgs()
	if len(command) == 0 {
		command = []string{"the image's"}
	}
	if err := checkArgs(slices.Concat(command, args)); err != nil {
		return err
	}
	for i, kv := range cfg.GetEnvs() {
		if err := checkEnv(kv.GetKey(), string(kv.GetValue())); err != nil {
			return invalid("envs[%d]: %w", i, err)
		}
	}
	if _, err := workingDir(cfg, ImageConfig{}); err != nil {
		return err
	}
	_, err := parseCRISignal(cfg.GetStopSignal())
	if cfg.GetStopSignal() == runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT {
		return nil
	}
	return inField("stop_signal", err)
}

// checkConfinement checks what of a security context is the same for pods and
// containers, as one of a container; whom it runs as is not among it.
func checkConfinement(sc *runtimeapi.LinuxContainerSecurityContext) error {
	if _, err := seccompRequest(sc); err != nil {
		return err
	}
	p, err := appArmorRequest(sc)
	if err != nil {
		return err
	}
	if p.GetProfileType() == runtimeapi.SecurityProfile_Localhost {
		if name := strings.TrimPrefix(p.GetLocalhostRef(), localhostPrefix); name == "" || hasControl(name) {
			return invalid("apparmor.localhost_ref: %q", name)
		}
	}
	o := sc.GetSelinuxOptions()
	for name, part := range map[string]string{"user": o.GetUser(), "role": o.GetRole(), "type": o.GetType(), "level": o.GetLevel()} {
		if hasControl(part) || strings.ContainsAny(part, " \"") {
			return invalid("selinux_options.%s: %q", name, part)
		}
	}
	return nil
}

// checkCapabilities checks names only: what can be given depends on the host.
func checkCapabilities(c *runtimeapi.Capability) error {
	for _, f := range []struct {
		name string
		list []string
	}{
		{"add_capabilities", c.GetAddCapabilities()},
		{"drop_capabilities", c.GetDropCapabilities()},
		{"add_ambient_capabilities", c.GetAddAmbientCapabilities()},
	} {
		if _, _, err := capNames(f.name, f.list); err != nil {
			return inField("capabilities", err)
		}
	}
	return nil
}

// checkShared refuses a container that asks for the host's where its pod has
// its own: it could only get the pod's, and would not know.
func checkShared(container, pod *runtimeapi.NamespaceOption) error {
	const host = runtimeapi.NamespaceMode_NODE
	switch {
	case container.GetNetwork() == host && pod.GetNetwork() != host:
		return invalid("network: NODE, and the pod has a network of its own")
	case container.GetIpc() == host && pod.GetIpc() != host:
		return invalid("ipc: NODE, and the pod has an IPC namespace of its own")
	}
	return nil
}
