package oci

import (
	"errors"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Every field is checked before anything is made, and the message names it.
func TestBadContainers(t *testing.T) {
	type sec = runtimeapi.LinuxContainerSecurityContext
	for _, c := range []struct {
		names  string
		change func(c *runtimeapi.ContainerConfig, sc *sec)
	}{
		{"metadata.name: missing", func(c *runtimeapi.ContainerConfig, _ *sec) { c.Metadata = nil }},
		{"image: missing", func(c *runtimeapi.ContainerConfig, _ *sec) { c.Image = nil }},
		{"windows", func(c *runtimeapi.ContainerConfig, _ *sec) { c.Windows = &runtimeapi.WindowsContainerConfig{} }},
		{"command: empty", func(c *runtimeapi.ContainerConfig, _ *sec) { c.Command = []string{""} }},
		{"command", func(c *runtimeapi.ContainerConfig, _ *sec) { c.Args = []string{"a\x00b"} }},
		{"command", func(c *runtimeapi.ContainerConfig, _ *sec) {
			c.Command, c.Args = nil, []string{strings.Repeat("x", maxArg)}
		}},
		{"envs[1]", func(c *runtimeapi.ContainerConfig, _ *sec) {
			c.Envs = []*runtimeapi.KeyValue{{Key: "A", Value: []byte("\xff")}, {Key: "B=C"}}
		}},
		{"envs[0]", func(c *runtimeapi.ContainerConfig, _ *sec) {
			c.Envs = []*runtimeapi.KeyValue{{Key: "A", Value: []byte("secret\x00")}}
		}},
		{"working_dir", func(c *runtimeapi.ContainerConfig, _ *sec) { c.WorkingDir = "a/b" }},
		{"stop_signal", func(c *runtimeapi.ContainerConfig, _ *sec) { c.StopSignal = 999 }},
		{"log_path", func(c *runtimeapi.ContainerConfig, _ *sec) { c.LogPath = "../x" }},
		{"mounts[0].image", func(c *runtimeapi.ContainerConfig, _ *sec) {
			c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/a", Image: &runtimeapi.ImageSpec{Image: "/etc/passwd"}}}
		}},
		{"mounts[0].propagation", func(c *runtimeapi.ContainerConfig, _ *sec) {
			c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/a", HostPath: "/b", Propagation: 9}}
		}},
		{"linux.resources: cpu_shares", func(c *runtimeapi.ContainerConfig, _ *sec) { c.Linux.Resources.CpuShares = -1 }},
		{"network: mode 9", func(_ *runtimeapi.ContainerConfig, sc *sec) {
			sc.NamespaceOptions = &runtimeapi.NamespaceOption{Network: 9}
		}},
		{"network: NODE", func(_ *runtimeapi.ContainerConfig, sc *sec) {
			sc.NamespaceOptions = &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE}
		}},
		{"ipc: NODE", func(_ *runtimeapi.ContainerConfig, sc *sec) {
			sc.NamespaceOptions = &runtimeapi.NamespaceOption{Ipc: runtimeapi.NamespaceMode_NODE}
		}},
		{"target_id: missing", func(_ *runtimeapi.ContainerConfig, sc *sec) {
			sc.NamespaceOptions = &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_TARGET}
		}},
		{`unknown capability "FLY"`, func(_ *runtimeapi.ContainerConfig, sc *sec) {
			sc.Privileged, sc.Capabilities = true, &runtimeapi.Capability{DropCapabilities: []string{"FLY"}}
		}},
		{"apparmor.profile_type: unknown value 7", func(_ *runtimeapi.ContainerConfig, sc *sec) {
			sc.Apparmor = &runtimeapi.SecurityProfile{ProfileType: 7}
		}},
		{"apparmor.localhost_ref", func(_ *runtimeapi.ContainerConfig, sc *sec) {
			sc.Apparmor = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: "localhost/"}
		}},
		{"seccomp.profile_type: unknown value 7", func(_ *runtimeapi.ContainerConfig, sc *sec) {
			sc.Seccomp = &runtimeapi.SecurityProfile{ProfileType: 7}
		}},
		{"selinux_options.level", func(_ *runtimeapi.ContainerConfig, sc *sec) {
			sc.SelinuxOptions = &runtimeapi.SELinuxOption{Level: "s0\n"}
		}},
		{"run_as_user", func(_ *runtimeapi.ContainerConfig, sc *sec) { sc.RunAsUser = &runtimeapi.Int64Value{Value: -1} }},
		{"run_as_group", func(_ *runtimeapi.ContainerConfig, sc *sec) { sc.RunAsGroup = &runtimeapi.Int64Value{} }},
		{"supplemental_groups_policy", func(_ *runtimeapi.ContainerConfig, sc *sec) { sc.SupplementalGroupsPolicy = 5 }},
		{"masked_paths", func(_ *runtimeapi.ContainerConfig, sc *sec) { sc.MaskedPaths = []string{"proc"} }},
	} {
		in := input()
		if err := CheckContainer(in.Container, in.Pod); err != nil {
			t.Fatal(err)
		}
		c.change(in.Container, in.Container.Linux.SecurityContext)
		err := CheckContainer(in.Container, in.Pod)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.names) || strings.Contains(err.Error(), "secret") {
			t.Errorf("want %q, got: %v", c.names, err)
		}
	}
}

func TestBadPods(t *testing.T) {
	type sec = runtimeapi.LinuxSandboxSecurityContext
	for _, c := range []struct {
		names  string
		change func(p *runtimeapi.PodSandboxConfig, sc *sec)
	}{
		{"metadata.name: missing", func(p *runtimeapi.PodSandboxConfig, _ *sec) { p.Metadata = nil }},
		{"metadata.uid: missing", func(p *runtimeapi.PodSandboxConfig, _ *sec) { p.Metadata.Uid = "" }},
		{"windows", func(p *runtimeapi.PodSandboxConfig, _ *sec) { p.Windows = &runtimeapi.WindowsPodSandboxConfig{} }},
		{"port_mappings[0].protocol", func(p *runtimeapi.PodSandboxConfig, _ *sec) {
			p.PortMappings = []*runtimeapi.PortMapping{{Protocol: 9}}
		}},
		{"linux.cgroup_parent", func(p *runtimeapi.PodSandboxConfig, _ *sec) { p.Linux.CgroupParent = "/a/../b" }},
		{"linux.cgroup_parent", func(p *runtimeapi.PodSandboxConfig, _ *sec) { p.Linux.CgroupParent = "./" }},
		{"linux.cgroup_parent", func(p *runtimeapi.PodSandboxConfig, _ *sec) { p.Linux.CgroupParent = "//" }},
		{"linux.overhead: memory_limit_in_bytes", func(p *runtimeapi.PodSandboxConfig, _ *sec) {
			p.Linux.Overhead = &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: -2}
		}},
		{"linux.resources: cpu_period", func(p *runtimeapi.PodSandboxConfig, _ *sec) {
			p.Linux.Resources = &runtimeapi.LinuxContainerResources{CpuPeriod: -2}
		}},
		{"pid: TARGET", func(_ *runtimeapi.PodSandboxConfig, sc *sec) {
			sc.NamespaceOptions = &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_TARGET}
		}},
		{"run_as_user", func(_ *runtimeapi.PodSandboxConfig, sc *sec) { sc.RunAsUser = &runtimeapi.Int64Value{Value: 1 << 40} }},
		{"run_as_group", func(_ *runtimeapi.PodSandboxConfig, sc *sec) { sc.RunAsGroup = &runtimeapi.Int64Value{Value: -1} }},
		{"supplemental_groups: id -1", func(_ *runtimeapi.PodSandboxConfig, sc *sec) { sc.SupplementalGroups = []int64{-1} }},
		{"supplemental_groups_policy", func(_ *runtimeapi.PodSandboxConfig, sc *sec) { sc.SupplementalGroupsPolicy = 5 }},
		{"seccomp.profile_type", func(_ *runtimeapi.PodSandboxConfig, sc *sec) {
			sc.Seccomp = &runtimeapi.SecurityProfile{ProfileType: 7}
		}},
		{"apparmor.profile_type", func(_ *runtimeapi.PodSandboxConfig, sc *sec) {
			sc.Apparmor = &runtimeapi.SecurityProfile{ProfileType: 7}
		}},
		{"selinux_options.user", func(_ *runtimeapi.PodSandboxConfig, sc *sec) {
			sc.SelinuxOptions = &runtimeapi.SELinuxOption{User: "a b"}
		}},
	} {
		p := input().Pod
		if err := CheckPod(p); err != nil {
			t.Fatal(err)
		}
		c.change(p, p.Linux.SecurityContext)
		if err := CheckPod(p); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.names) {
			t.Errorf("want %q, got: %v", c.names, err)
		}
	}
}

// A kubelet gives a pod's group to the pod as well, with or without its user.
func TestAGroupAloneIsFineForAPod(t *testing.T) {
	p := input().Pod
	p.Linux.SecurityContext.RunAsGroup = &runtimeapi.Int64Value{Value: 100}
	if err := CheckPod(p); err != nil {
		t.Error(err)
	}
}
