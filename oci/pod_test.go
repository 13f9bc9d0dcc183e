package oci

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func podWith(network, ipc runtimeapi.NamespaceMode, sysctls map[string]string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{Linux: &runtimeapi.LinuxPodSandboxConfig{
		Sysctls: sysctls,
		SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Network: network, Ipc: ipc},
		},
	}}
}

func TestPodSysctls(t *testing.T) {
	const pod, node = runtimeapi.NamespaceMode_POD, runtimeapi.NamespaceMode_NODE
	got, err := PodSysctls(podWith(pod, pod, map[string]string{
		"kernel.shm_rmid_forced": "1", "fs/mqueue/msg_max": "100", "net.ipv4.ip_local_port_range": "1024\t2048",
		"net/ipv4/conf/eth0.100/rp_filter": "0", "net.ipv4.conf.eth1/7.rp_filter": "1", "net.ipv4.ip_unprivileged_port_start": "1024",
	}))
	want := map[string]string{
		"kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "100", "net.ipv4.ip_local_port_range": "1024\t2048",
		"net/ipv4/conf/eth0.100/rp_filter": "0", "net/ipv4/conf/eth1.7/rp_filter": "1",
		"net.ipv4.ip_unprivileged_port_start": "1024", "net.ipv4.ping_group_range": "0 2147483647",
	}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if got, err := PodSysctls(podWith(node, node, nil)); err != nil || len(got) != 0 {
		t.Errorf("host network: %v, %v", got, err)
	}
	for _, c := range []struct {
		network, ipc runtimeapi.NamespaceMode
		key, value   string
	}{
		{pod, pod, "kernel.shm_rmid_forced", "1\nkernel.core_pattern=x"},
		{pod, pod, "kernel.shm_rmid_forced=1+kernel.core_pattern", "|/x"},
		{pod, pod, "net.ipv4/../kernel/core_pattern", "x"},
		{pod, pod, "net/ipv4/../../kernel/core_pattern", "x"},
		{pod, pod, "net.ipv4.//kernel", "x"},
		{pod, pod, "net/.././kernel", "x"},
		{pod, pod, "net..ipv4", "x"},
		{pod, pod, "net.", "x"},
		{pod, pod, ".net.ipv4", "x"},
		{pod, pod, "net", "x"},
		{pod, pod, "", "x"},
		{pod, pod, "net.ipv4.a b", "x"},
		{pod, pod, "net.ipv4.a\n", "x"},
		{pod, pod, "kernel.core_pattern", "x"},
		{pod, pod, "kernel.hostname", "x"},
		{pod, pod, "kernel/sem/..", "x"},
		{pod, pod, "vm.swappiness", "0"},
		{pod, pod, "fs.file-max", "0"},
		{pod, pod, "kernel.sem", strings.Repeat("1", maxSysctlValue+1)},
		{pod, node, "kernel.sem", "1"},
		{pod, node, "fs.mqueue.msg_max", "1"},
		{node, pod, "net.core.somaxconn", "1"},
		{node, pod, "net/core/somaxconn", "1"},
	} {
		if got, err := PodSysctls(podWith(c.network, c.ipc, map[string]string{c.key: c.value})); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q=%.40q: %v, error %v", c.key, c.value, got, err)
		}
	}
}

func FuzzSysctl(f *testing.F) {
	f.Add("kernel.shm_rmid_forced", "1")
	f.Add("net/ipv4/conf/eth0.1/x", "1")
	f.Add("net.ipv4/../kernel/core_pattern", "x")
	f.Fuzz(func(t *testing.T, key, value string) {
		got, err := PodSysctls(podWith(runtimeapi.NamespaceMode_POD, runtimeapi.NamespaceMode_POD, map[string]string{key: value}))
		if err != nil {
			return
		}
		for k := range got {
			p := k
			if !strings.Contains(k, "/") {
				p = strings.ReplaceAll(k, ".", "/")
			}
			for _, part := range strings.Split(p, "/") {
				if part == "" || strings.HasPrefix(part, ".") || hasControl(part) {
					t.Errorf("%q leads to %q", key, p)
				}
			}
			if !strings.HasPrefix(p, "net/") && !strings.HasPrefix(p, "fs/mqueue/") && !slices.Contains(ipcSysctls, strings.ReplaceAll(p, "/", ".")) {
				t.Errorf("%q leads to %q", key, p)
			}
		}
	})
}

func TestLogPath(t *testing.T) {
	if p, err := LogPath("/var/log/pods/x", "app/0.log"); err != nil || p != "/var/log/pods/x/app/0.log" {
		t.Errorf("%q, %v", p, err)
	}
	for _, none := range [][2]string{{"", "a"}, {"/a", ""}} {
		if p, err := LogPath(none[0], none[1]); err != nil || p != "" {
			t.Errorf("%q: %q, %v", none, p, err)
		}
	}
	for _, bad := range []string{"/etc/passwd", "..", "../x", "a/../../x", "a/../b", "./a", "a//b", "a/", ".", "a\x00", "a\nb", strings.Repeat("a", maxPath+1)} {
		if p, err := LogPath("/var/log/pods/x", bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.40q: %q, error %v", bad, p, err)
		}
	}
	if _, err := LogPath("relative", "a"); !errors.Is(err, ErrInvalid) {
		t.Errorf("relative directory: error %v", err)
	}
}

func TestResolvConf(t *testing.T) {
	host := []byte("nameserver 127.0.0.53\n# anything\n")
	if got, err := ResolvConf(nil, host); err != nil || string(got) != string(host) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := ResolvConf(&runtimeapi.DNSConfig{}, host); err != nil || len(got) != 0 {
		t.Errorf("empty config: %q, %v", got, err)
	}
	got, err := ResolvConf(&runtimeapi.DNSConfig{
		Servers: []string{"10.96.0.10", "fe80::1%eth0"}, Searches: []string{"shop.svc.cluster.local", "."}, Options: []string{"ndots:5", "edns0"},
	}, host)
	want := "search shop.svc.cluster.local .\nnameserver 10.96.0.10\nnameserver fe80::1%eth0\noptions ndots:5 edns0\n"
	if err != nil || string(got) != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	for _, bad := range []*runtimeapi.DNSConfig{
		{Servers: []string{"8.8.8.8\noptions debug"}},
		{Servers: []string{""}},
		{Servers: []string{"dns.example"}},
		{Servers: []string{"fe80::1%a\nb"}},
		{Searches: []string{"a b"}},
		{Searches: []string{"a\nnameserver 1.1.1.1"}},
		{Searches: []string{""}},
		{Options: []string{"a b"}},
		{Options: []string{"a\nb"}},
		{Options: []string{""}},
	} {
		if got, err := ResolvConf(bad, host); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %q, error %v", bad, got, err)
		}
	}
}

func TestHosts(t *testing.T) {
	got, err := Hosts("web-0", []string{"10.0.0.5", "fd00::5"})
	if err != nil || !strings.HasSuffix(string(got), "10.0.0.5\tweb-0\nfd00::5\tweb-0\n") || !strings.HasPrefix(string(got), "127.0.0.1\tlocalhost\n") {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"a\n1.2.3.4 b", "a b", "-a", strings.Repeat("a", maxHostname+1)} {
		if _, err := Hosts(bad, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: error %v", bad, err)
		}
	}
	if _, err := Hosts("a", []string{"1.2.3.4\nx"}); !errors.Is(err, ErrInvalid) {
		t.Errorf("error %v", err)
	}
}

func TestCheckPod(t *testing.T) {
	ok := input().Pod
	if err := CheckPod(ok); err != nil {
		t.Fatal(err)
	}
	if err := CheckPod(nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("nil: %v", err)
	}
	options := func(change func(*runtimeapi.NamespaceOption)) func(*runtimeapi.PodSandboxConfig) {
		return func(c *runtimeapi.PodSandboxConfig) {
			c.Linux.SecurityContext.NamespaceOptions = &runtimeapi.NamespaceOption{}
			change(c.Linux.SecurityContext.NamespaceOptions)
		}
	}
	for _, c := range []struct {
		field  string
		change func(*runtimeapi.PodSandboxConfig)
	}{
		{"metadata.name", func(c *runtimeapi.PodSandboxConfig) { c.Metadata = nil }},
		{"metadata.name", func(c *runtimeapi.PodSandboxConfig) { c.Metadata.Name = "a;CNI_IFNAME=eth1" }},
		{"metadata.name", func(c *runtimeapi.PodSandboxConfig) { c.Metadata.Name = "../a" }},
		{"metadata.name", func(c *runtimeapi.PodSandboxConfig) { c.Metadata.Name = strings.Repeat("a", maxName+1) }},
		{"metadata.uid", func(c *runtimeapi.PodSandboxConfig) { c.Metadata.Uid = "../../etc" }},
		{"metadata.namespace", func(c *runtimeapi.PodSandboxConfig) { c.Metadata.Namespace = "a/b" }},
		{"hostname", func(c *runtimeapi.PodSandboxConfig) { c.Hostname = "a\nb" }},
		{"log_directory", func(c *runtimeapi.PodSandboxConfig) { c.LogDirectory = "logs" }},
		{"dns_config.servers", func(c *runtimeapi.PodSandboxConfig) { c.DnsConfig = &runtimeapi.DNSConfig{Servers: []string{"x"}} }},
		{"port_mappings[0].container_port", func(c *runtimeapi.PodSandboxConfig) {
			c.PortMappings = []*runtimeapi.PortMapping{{ContainerPort: 65536}}
		}},
		{"port_mappings[0].host_port", func(c *runtimeapi.PodSandboxConfig) {
			c.PortMappings = []*runtimeapi.PortMapping{{ContainerPort: 1, HostPort: -1}}
		}},
		{"port_mappings[0].host_ip", func(c *runtimeapi.PodSandboxConfig) {
			c.PortMappings = []*runtimeapi.PortMapping{{ContainerPort: 1, HostIp: "localhost"}}
		}},
		{"port_mappings[0].protocol", func(c *runtimeapi.PodSandboxConfig) {
			c.PortMappings = []*runtimeapi.PortMapping{{ContainerPort: 1, Protocol: 9}}
		}},
		{"linux.cgroup_parent", func(c *runtimeapi.PodSandboxConfig) { c.Linux.CgroupParent = "/a/../../b" }},
		{"linux: sysctls", func(c *runtimeapi.PodSandboxConfig) { c.Linux.Sysctls = map[string]string{"vm.x": "1"} }},
		{"namespace_options: network", options(func(o *runtimeapi.NamespaceOption) { o.Network = runtimeapi.NamespaceMode_CONTAINER })},
		{"namespace_options: ipc", options(func(o *runtimeapi.NamespaceOption) { o.Ipc = 9 })},
		{"namespace_options.pid", options(func(o *runtimeapi.NamespaceOption) { o.Pid = runtimeapi.NamespaceMode_TARGET })},
		{"userns_options", options(func(o *runtimeapi.NamespaceOption) { o.UsernsOptions = &runtimeapi.UserNamespace{} })},
		{"windows", func(c *runtimeapi.PodSandboxConfig) { c.Windows = &runtimeapi.WindowsPodSandboxConfig{} }},
	} {
		cfg := proto.CloneOf(ok)
		c.change(cfg)
		if err := CheckPod(cfg); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.field) {
			t.Errorf("%s: error %v", c.field, err)
		}
	}
}

func TestCheckContainer(t *testing.T) {
	for _, c := range []struct {
		field  string
		change func(*runtimeapi.ContainerConfig, *runtimeapi.LinuxContainerSecurityContext)
	}{
		{"metadata.name", func(c *runtimeapi.ContainerConfig, _ *runtimeapi.LinuxContainerSecurityContext) { c.Metadata.Name = "" }},
		{"image: missing", func(c *runtimeapi.ContainerConfig, _ *runtimeapi.LinuxContainerSecurityContext) { c.Image = nil }},
		{"image: ", func(c *runtimeapi.ContainerConfig, _ *runtimeapi.LinuxContainerSecurityContext) {
			c.Image.Image = "/tmp/x.tar"
		}},
		{"log_path", func(c *runtimeapi.ContainerConfig, _ *runtimeapi.LinuxContainerSecurityContext) { c.LogPath = "../x" }},
		{"windows", func(c *runtimeapi.ContainerConfig, _ *runtimeapi.LinuxContainerSecurityContext) {
			c.Windows = &runtimeapi.WindowsContainerConfig{}
		}},
		{"CDI_devices", func(c *runtimeapi.ContainerConfig, _ *runtimeapi.LinuxContainerSecurityContext) {
			c.CDIDevices = []*runtimeapi.CDIDevice{{Name: "/dev/gpu0"}}
		}},
		{"mounts[0].host_path", func(c *runtimeapi.ContainerConfig, _ *runtimeapi.LinuxContainerSecurityContext) {
			c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/a"}}
		}},
		{"devices[0].host_path", func(c *runtimeapi.ContainerConfig, _ *runtimeapi.LinuxContainerSecurityContext) {
			c.Devices = []*runtimeapi.Device{{ContainerPath: "/a"}}
		}},
		{"stop_signal", func(c *runtimeapi.ContainerConfig, _ *runtimeapi.LinuxContainerSecurityContext) { c.StopSignal = 99 }},
		{"linux.resources", func(c *runtimeapi.ContainerConfig, _ *runtimeapi.LinuxContainerSecurityContext) {
			c.Linux.Resources.CpuShares = -1
		}},
		{"target_id", func(_ *runtimeapi.ContainerConfig, sc *runtimeapi.LinuxContainerSecurityContext) {
			sc.NamespaceOptions = &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_TARGET}
		}},
		{"masked_paths", func(_ *runtimeapi.ContainerConfig, sc *runtimeapi.LinuxContainerSecurityContext) {
			sc.MaskedPaths = []string{"proc/kcore"}
		}},
		{"readonly_paths", func(_ *runtimeapi.ContainerConfig, sc *runtimeapi.LinuxContainerSecurityContext) {
			sc.ReadonlyPaths = []string{"/a\x00"}
		}},
		{"seccomp_profile_path", func(_ *runtimeapi.ContainerConfig, sc *runtimeapi.LinuxContainerSecurityContext) {
			//lint:ignore SA1019 old clients send it
			sc.SeccompProfilePath = "none"
		}},
		{"seccomp.profile_type", func(_ *runtimeapi.ContainerConfig, sc *runtimeapi.LinuxContainerSecurityContext) {
			sc.Seccomp = &runtimeapi.SecurityProfile{ProfileType: 9}
		}},
		{"run_as_group", func(_ *runtimeapi.ContainerConfig, sc *runtimeapi.LinuxContainerSecurityContext) {
			sc.RunAsGroup = &runtimeapi.Int64Value{Value: 1}
		}},
	} {
		in := input()
		c.change(in.Container, in.Container.Linux.SecurityContext)
		if err := CheckContainer(in.Container, in.Pod); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.field) {
			t.Errorf("%s: error %v", c.field, err)
		}
		if _, err := Container(in); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: a spec was made: %v", c.field, err)
		}
	}
	in := input()
	in.Container.Linux.SecurityContext.Privileged = true
	in.Pod.Linux.SecurityContext.Privileged = false
	if err := CheckContainer(in.Container, in.Pod); !errors.Is(err, ErrInvalid) {
		t.Errorf("privileged container in another pod: %v", err)
	}
	if err := CheckContainer(nil, in.Pod); !errors.Is(err, ErrInvalid) {
		t.Errorf("nil: %v", err)
	}
}

func TestStopSignal(t *testing.T) {
	for _, c := range []struct {
		cri   runtimeapi.Signal
		image string
		want  syscall.Signal
	}{
		{0, "", syscall.SIGTERM},
		{0, "SIGQUIT", syscall.SIGQUIT},
		{0, "quit", syscall.SIGQUIT},
		{0, "9", syscall.SIGKILL},
		{0, "SIGRTMIN+3", 37},
		{0, "RTMAX-1", 63},
		{runtimeapi.Signal_SIGNAL_SIGUSR1, "SIGQUIT", syscall.SIGUSR1},
		{runtimeapi.Signal_SIGNAL_SIGRTMINPLUS15, "", 49},
		{runtimeapi.Signal_SIGNAL_SIGRTMAXMINUS14, "", 50},
		{runtimeapi.Signal_SIGNAL_SIGRTMAX, "", 64},
		{0, "SIGNOPE", 0},
		{0, "0", 0},
		{0, "65", 0},
		{0, "-9", 0},
		{0, "SIGRTMIN-1", 0},
		{0, "SIGRTMIN+31", 0},
		{0, "99999999999999999999", 0},
		{99, "", 0},
	} {
		got, err := StopSignal(&runtimeapi.ContainerConfig{StopSignal: c.cri}, ImageConfig{StopSignal: c.image})
		if got != c.want || (err != nil) != (c.want == 0) {
			t.Errorf("%v, %q: %d, %v; want %d", c.cri, c.image, got, err, c.want)
		}
	}
	for n := syscall.Signal(1); n <= sigRTMax; n++ {
		if n == 32 || n == 33 {
			continue
		}
		back, err := parseCRISignal(CRISignal(n))
		if err != nil || back != n {
			t.Errorf("signal %d is %q, which is %d, %v", n, SignalName(n), back, err)
		}
	}
	for v := range runtimeapi.Signal_name {
		if _, err := parseCRISignal(runtimeapi.Signal(v)); v != 0 && err != nil {
			t.Errorf("%s: %v", runtimeapi.Signal(v), err)
		}
	}
}
