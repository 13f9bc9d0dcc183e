package conf

import "time"

// key describes one setting. The table below is the only list of them: the
// commented file, the flags, the messages and the reload are made from it.
type key struct {
	name   string
	doc    string                // what it is, for a person; lines of at most 76
	reload bool                  // taken over on SIGHUP
	field  func(c *Config) any   // a type that assign in set.go knows
	check  func(c *Config) error // of the value alone; see validate.go
}

func keys() []key {
	return []key{
		{
			name:  "listen",
			doc:   "Socket of the CRI: unix:// and an absolute path of at most 107 bytes.\nThe kubelet's containerRuntimeEndpoint is the same text.",
			field: func(c *Config) any { return &c.Listen },
			check: func(c *Config) error { return checkListen(c.Listen) },
		},
		{
			name:  "root",
			doc:   "Images, containers and the records of pods; survives a reboot.",
			field: func(c *Config) any { return &c.Root },
			check: func(c *Config) error { return checkPath(c.Root) },
		},
		{
			name:  "state",
			doc:   "Sockets and mount points; may be lost at a reboot. Short: sockets in it\nhave paths of at most 107 bytes.",
			field: func(c *Config) any { return &c.State },
			check: func(c *Config) error { return checkState(c.State) },
		},
		{
			name:  "socket_group",
			doc:   "Group, by name or number, that may use the socket beside root. Whoever may\nuse it is root on this machine. Empty: only root.",
			field: func(c *Config) any { return &c.SocketGroup },
			check: func(c *Config) error { return checkGroup(c.SocketGroup) },
		},
		{
			name:   "log_level",
			doc:    "debug, info, warn or error.",
			reload: true,
			field:  func(c *Config) any { return &c.LogLevel },
			check:  func(c *Config) error { return checkWord(c.LogLevel, "debug", "info", "warn", "error") },
		},
		{
			name:  "log_format",
			doc:   "text or json.",
			field: func(c *Config) any { return &c.LogFormat },
			check: func(c *Config) error { return checkWord(c.LogFormat, "text", "json") },
		},
		{
			name:  "cni_conf_dir",
			doc:   "Network configurations. The first valid *.conflist, *.conf or *.json by name\nis used; changes are seen at once, without a restart.",
			field: func(c *Config) any { return &c.CNIConfDir },
			check: func(c *Config) error { return checkPath(c.CNIConfDir) },
		},
		{
			name:  "cni_bin_dirs",
			doc:   "Where network plugins are looked for, in this order.",
			field: func(c *Config) any { return &c.CNIBinDirs },
			check: func(c *Config) error { return checkBinDirs(c.CNIBinDirs) },
		},
		{
			name:  "cni_native",
			doc:   "Do the work of the plugins bridge, host-local, portmap and loopback in this\nprocess, when a configuration names no others; with false, or for what needs\nthe programs (iptables by name, vlans), plugins are run. Pods that run are\ndetached by who attached them.",
			field: func(c *Config) any { return &c.CNINative },
			check: func(*Config) error { return nil },
		},
		{
			name:  "netns_dir",
			doc:   "Where the pods' network namespaces are pinned, as slipway-<pod id>. The\ndefault is where \"ip netns\" finds them.",
			field: func(c *Config) any { return &c.NetNSDir },
			check: func(c *Config) error { return checkPath(c.NetNSDir) },
		},
		{
			name:  "registry_dir",
			doc:   "Mirrors and certificates: one directory a registry with a hosts.toml, as\ncontainerd has them. Read at each pull.",
			field: func(c *Config) any { return &c.RegistryDir },
			check: func(c *Config) error { return checkPath(c.RegistryDir) },
		},
		{
			name:   "sandbox_image",
			doc:    "Shown in the verbose status, where kubeadm looks for it, and never run:\na pod here needs no pause container.",
			reload: true,
			field:  func(c *Config) any { return &c.SandboxImage },
			check:  func(c *Config) error { return checkImage(c.SandboxImage) },
		},
		{
			name:  "cgroup_driver",
			doc:   "Who makes cgroups: systemd, as scopes below its slices, cgroupfs, which is\nthis program itself, or auto: systemd where it runs the machine, with cgroup\nv2. The kubelet asks for it and does as it is told.",
			field: func(c *Config) any { return &c.CgroupDriver },
			check: func(c *Config) error { return checkWord(c.CgroupDriver, "auto", "cgroupfs", "systemd") },
		},
		{
			name:  "cgroup_parent",
			doc:   "Cgroup of the pods for which the client names none: a path, or with\nsystemd the name of a slice. The default becomes slipway.slice there.",
			field: func(c *Config) any { return &c.CgroupParent },
			check: func(c *Config) error { return checkCgroup(c.CgroupParent) },
		},
		{
			name:  "default_ulimits",
			doc:   "Limits of every container, as \"nofile=1024:524288\" (soft:hard, one number\nfor both, \"unlimited\"). What is not named stays as this service has it.",
			field: func(c *Config) any { return &c.DefaultUlimits },
			check: func(c *Config) error { return checkUlimits(c.DefaultUlimits) },
		},
		{
			name:  "absent_mount_sources",
			doc:   "A mount whose host path does not exist: \"create\" makes a directory there,\n\"reject\" refuses the container, a list of paths refuses for these and what\nis below them and makes a directory elsewhere.",
			field: func(c *Config) any { return &c.AbsentMountSources },
			check: func(c *Config) error { return checkAbsent(c.AbsentMountSources) },
		},
		{
			name:  "cdi_spec_dirs",
			doc:   "Where the descriptions of CDI devices are, *.json and *.yaml. A device in a\nlater directory wins over its like in an earlier one; changes are seen by\nthe next container. None: there are no CDI devices.",
			field: func(c *Config) any { return &c.CDISpecDirs },
			check: func(c *Config) error { return checkDirs(c.CDISpecDirs) },
		},
		{
			name:  "stream_address",
			doc:   "Where exec, attach and port-forward are served: IP:PORT, port 0 is any free\none. Clients reach it from this host: the kubelet and crictl are proxies.\nAn address other than loopback needs the two keys below.",
			field: func(c *Config) any { return &c.StreamAddress },
			check: func(c *Config) error { return checkStreamAddress(c.StreamAddress, c.StreamTLSCert != "") },
		},
		{
			name:  "stream_tls_cert",
			doc:   "File with the certificate chain for it (PEM), read at each connection; with\nthe key below everything goes over TLS. Empty: plain HTTP. The kubelet\nbelieves only what this host's certificate store believes.",
			field: func(c *Config) any { return &c.StreamTLSCert },
			check: func(c *Config) error { return checkPair(c.StreamTLSCert, c.StreamTLSKey, "stream_tls_key") },
		},
		{
			name:  "stream_tls_key",
			doc:   "File with the private key of the certificate (PEM).",
			field: func(c *Config) any { return &c.StreamTLSKey },
			check: func(c *Config) error { return checkPair(c.StreamTLSKey, c.StreamTLSCert, "stream_tls_cert") },
		},
		{
			name:  "stream_idle_timeout",
			doc:   "A session without a byte for so long is ended.",
			field: func(c *Config) any { return &c.StreamIdleTimeout },
			check: func(c *Config) error { return checkDuration(c.StreamIdleTimeout, Duration(time.Second)) },
		},
		{
			name:  "stream_open_timeout",
			doc:   "How long a client may take to open the streams of its session.",
			field: func(c *Config) any { return &c.StreamOpenTimeout },
			check: func(c *Config) error { return checkDuration(c.StreamOpenTimeout, Duration(time.Second)) },
		},
		{
			name:  "stream_max_sessions",
			doc:   "Sessions and unused URLs at one time; more are refused.",
			field: func(c *Config) any { return &c.StreamMax },
			check: func(c *Config) error { return checkCount(c.StreamMax, 1, 1<<20) },
		},
		{
			name:  "stream_max_sessions_per_pod",
			doc:   "The same of one pod.",
			field: func(c *Config) any { return &c.StreamMaxPod },
			check: func(c *Config) error { return checkCount(c.StreamMaxPod, 1, 1<<20) },
		},
	}
}

// Keys returns the names of all keys, in the order of the commented file.
func Keys() []string {
	var names []string
	for _, k := range keys() {
		names = append(names, k.name)
	}
	return names
}

func findKey(name string) (key, bool) {
	for _, k := range keys() {
		if k.name == name {
			return k, true
		}
	}
	return key{}, false
}
