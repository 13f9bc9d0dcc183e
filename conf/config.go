package conf

import (
	"log/slog"
	"strings"
	"time"
)

// DefaultPath is the file that is read when none is asked for.
const DefaultPath = "/etc/slipway/config.toml"

// Config is every setting. Paths are absolute. The toml names are the keys of
// the file; keys.go says what each means.
type Config struct {
	Listen             string   `toml:"listen"`
	Root               string   `toml:"root"`
	State              string   `toml:"state"`
	SocketGroup        string   `toml:"socket_group"` // name or number; empty: only root
	LogLevel           string   `toml:"log_level"`    // debug, info, warn, error
	LogFormat          string   `toml:"log_format"`   // text, json
	CNIConfDir         string   `toml:"cni_conf_dir"`
	CNIBinDirs         []string `toml:"cni_bin_dirs"`
	CNINative          bool     `toml:"cni_native"`
	NetNSDir           string   `toml:"netns_dir"`
	RegistryDir        string   `toml:"registry_dir"`
	SandboxImage       string   `toml:"sandbox_image"`
	CgroupDriver       string   `toml:"cgroup_driver"` // auto, cgroupfs, systemd
	CgroupParent       string   `toml:"cgroup_parent"`
	DefaultUlimits     []Ulimit `toml:"default_ulimits"`
	AbsentMountSources Absent   `toml:"absent_mount_sources"`

	CDISpecDirs []string `toml:"cdi_spec_dirs"` // the later wins

	StreamAddress     string   `toml:"stream_address"`  // host:port, port 0 is any free one
	StreamTLSCert     string   `toml:"stream_tls_cert"` // file; empty: plain HTTP, on loopback only
	StreamTLSKey      string   `toml:"stream_tls_key"`
	StreamIdleTimeout Duration `toml:"stream_idle_timeout"`
	StreamOpenTimeout Duration `toml:"stream_open_timeout"`
	StreamMax         int      `toml:"stream_max_sessions"`
	StreamMaxPod      int      `toml:"stream_max_sessions_per_pod"`

	// Handlers are the named configurations, by name; the values are not to be
	// changed.
	Handlers map[string]*Handler

	origin map[string]string // key -> file:line or flag; defaults have none
	files  []string
}

// Default returns the settings of a machine without a file.
func Default() Config {
	return Config{
		Listen:       "unix:///run/slipway/slipway.sock",
		Root:         "/var/lib/slipway",
		State:        "/run/slipway",
		LogLevel:     "info",
		LogFormat:    "text",
		CNIConfDir:   "/etc/cni/net.d",
		CNIBinDirs:   []string{"/opt/cni/bin", "/usr/lib/cni"},
		CNINative:    true,
		NetNSDir:     "/run/netns",
		RegistryDir:  "/etc/slipway/certs.d",
		SandboxImage: "registry.k8s.io/pause:3.10.2",
		CgroupDriver: "auto",
		CgroupParent: "/slipway",
		CDISpecDirs:  []string{"/etc/cdi", "/var/run/cdi"},

		StreamAddress:     "127.0.0.1:0",
		StreamIdleTimeout: Duration(4 * time.Hour),
		StreamOpenTimeout: Duration(30 * time.Second),
		StreamMax:         1000,
		StreamMaxPod:      64,
	}
}

// Socket returns the path of the listening socket.
func (c Config) Socket() string { return strings.TrimPrefix(c.Listen, unixScheme) }

// Level returns LogLevel for log/slog; info for a level that is none.
func (c Config) Level() slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return slog.LevelInfo
	}
	return l
}

// Files returns the files that were read, in order.
func (c Config) Files() []string { return c.files }

// Origin returns where a key was set: file and line, or a flag; "" for one
// that has its default.
func (c Config) Origin(key string) string { return c.origin[key] }
