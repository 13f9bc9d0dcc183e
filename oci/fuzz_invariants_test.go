package oci

import (
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// checkInvariants holds for every spec, whatever the request and the image say:
// no path leads elsewhere, and nothing is granted that was not asked for.
func checkInvariants(t *testing.T, in ContainerInput, s *specs.Spec) {
	t.Helper()
	checkFixed(t, in, s)
	checkProcessOf(t, in, s.Process)
	checkCapsOf(t, in, s.Process.Capabilities)
	checkMountsOf(t, in, s)
	checkDevicesOf(t, in, s.Linux)
	checkConfinementOf(t, in, s)
	checkUsersOf(t, in, s.Linux)
	if log, err := LogPath(in.Pod.GetLogDirectory(), in.Container.GetLogPath()); err != nil || log != "" && !below(log, path.Clean(in.Pod.GetLogDirectory())) {
		t.Errorf("log %q, %v", log, err)
	}
}

func clean(t *testing.T, what, p string) {
	t.Helper()
	if !path.IsAbs(p) || path.Clean(p) != p || strings.ContainsRune(p, 0) || len(p) > 2*maxPath {
		t.Errorf("%s %q", what, p)
	}
}

// checkFixed: what no request can have.
func checkFixed(t *testing.T, in ContainerInput, s *specs.Spec) {
	t.Helper()
	if s.Hooks != nil || len(s.Linux.Sysctl) > 0 || s.Linux.IntelRdt != nil || s.Linux.CgroupsPath != in.CgroupsPath ||
		s.Linux.Personality != nil || s.Process.Scheduler != nil || s.Process.IOPriority != nil || !slices.Equal(s.Process.Rlimits, in.Host.Ulimits) {
		t.Errorf("more than a request can say: %+v %+v", s, s.Linux)
	}
	for k := range s.Annotations {
		if _, ours := annotationsOf(ContainerInput{})[k]; !ours && isCommand(k) {
			t.Errorf("annotation %q", k)
		}
	}
	for k := range s.Linux.Resources.Unified {
		if strings.Contains(k, "/") || strings.HasPrefix(k, "cgroup.") {
			t.Errorf("unified %q", k)
		}
	}
	if a := s.Process.OOMScoreAdj; a != nil && (*a < -1000 || *a > 1000 || int64(*a) != in.Container.GetLinux().GetResources().GetOomScoreAdj()) {
		t.Errorf("oom_score_adj %d", *a)
	}
	if sc := in.Container.GetLinux().GetSecurityContext(); sc.GetPrivileged() && !in.Pod.GetLinux().GetSecurityContext().GetPrivileged() {
		t.Error("privileged in a pod that is not")
	}
}

func checkProcessOf(t *testing.T, in ContainerInput, p *specs.Process) {
	t.Helper()
	clean(t, "cwd", p.Cwd)
	for _, text := range slices.Concat(p.Args, p.Env) {
		if strings.ContainsRune(text, 0) {
			t.Errorf("NUL in %q", text)
		}
	}
	for _, kv := range in.Container.GetEnvs() {
		if !slices.ContainsFunc(p.Env, func(e string) bool { return strings.HasPrefix(e, kv.GetKey()+"=") }) {
			t.Errorf("%q is not in the environment", kv.GetKey())
		}
	}
	sc, u := in.Container.GetLinux().GetSecurityContext(), p.User
	if u.UID > maxID || u.GID > maxID || slices.ContainsFunc(u.AdditionalGids, func(g uint32) bool { return g > maxID }) {
		t.Errorf("user %+v", u)
	}
	if want := sc.GetRunAsUser(); want != nil && int64(u.UID) != want.GetValue() {
		t.Errorf("user %d, asked for %d", u.UID, want.GetValue())
	}
	if want := sc.GetRunAsGroup(); want != nil && int64(u.GID) != want.GetValue() {
		t.Errorf("group %d, asked for %d", u.GID, want.GetValue())
	}
	if !slices.Contains(u.AdditionalGids, u.GID) { // an empty list would keep the runtime's own
		t.Errorf("groups %v without %d", u.AdditionalGids, u.GID)
	}
	if sc.GetNoNewPrivs() != p.NoNewPrivileges || in.Container.GetTty() != p.Terminal {
		t.Error("no_new_privs or tty differs")
	}
}

func checkCapsOf(t *testing.T, in ContainerInput, c *specs.LinuxCapabilities) {
	t.Helper()
	sc := in.Container.GetLinux().GetSecurityContext()
	allowed := in.Host.Capabilities
	names := func(list []string) []string {
		out, all, err := capNames("", list)
		if err != nil || all {
			return allCapabilities
		}
		return out
	}
	ambient := names(sc.GetCapabilities().GetAddAmbientCapabilities())
	if !sc.GetPrivileged() {
		allowed = slices.Concat(defaultCapabilities, names(sc.GetCapabilities().GetAddCapabilities()), ambient)
		for _, name := range sc.GetCapabilities().GetDropCapabilities() {
			if drop, all, _ := capNames("", []string{name}); !all && slices.Contains(c.Bounding, drop[0]) {
				t.Errorf("%s was dropped and is there", name)
			}
		}
	}
	for set, list := range map[string][]string{"bounding": c.Bounding, "effective": c.Effective, "permitted": c.Permitted, "inheritable": c.Inheritable, "ambient": c.Ambient} {
		for _, name := range list {
			switch {
			case !slices.Contains(in.Host.Capabilities, name):
				t.Errorf("%s: %s is not the runtime's to give", set, name)
			case !slices.Contains(allowed, name):
				t.Errorf("%s: %s was not asked for", set, name)
			case !slices.Contains(c.Bounding, name):
				t.Errorf("%s: %s is not in the bounding set", set, name)
			case (set == "ambient" || set == "inheritable") && !slices.Contains(ambient, name):
				t.Errorf("%s: %s was not asked for", set, name) // CVE-2022-24769
			}
		}
	}
}

func checkMountsOf(t *testing.T, in ContainerInput, s *specs.Spec) {
	t.Helper()
	if sc := in.Container.GetLinux().GetSecurityContext(); sc.GetReadonlyRootfs() != s.Root.Readonly {
		t.Error("readonly_rootfs differs")
	}
	shared := false
	for _, m := range s.Mounts {
		clean(t, "destination", m.Destination)
		if m.Destination == "/" || m.Type != "proc" && m.Destination == "/proc" && m.Source != "/proc" ||
			below(m.Destination, "/proc") && m.Destination != "/proc" && !slices.Contains(underProc, m.Destination) {
			t.Errorf("mount %+v", m) // CVE-2025-52881
		}
		switch m.Type {
		case "bind", MountTypeImage:
			shared = checkBindOf(t, in, m) || shared
		case "sysfs", "cgroup":
			if !in.Container.GetLinux().GetSecurityContext().GetPrivileged() && !slices.Contains(m.Options, "ro") {
				t.Errorf("writable: %+v", m)
			}
		case "proc", "tmpfs", "devpts", "mqueue":
		default:
			t.Errorf("mount %+v", m)
		}
	}
	if p := s.Linux.RootfsPropagation; p == "rshared" && !shared || p != "" && p != "rslave" && p != "rshared" {
		t.Errorf("root propagation %q", p)
	}
}

// checkBindOf finds who asked for a bind; it tells whether its propagation is
// shared.
func checkBindOf(t *testing.T, in ContainerInput, m specs.Mount) (shared bool) {
	t.Helper()
	shared = slices.Contains(m.Options, "rshared")
	if m.Type == "bind" {
		clean(t, "source", m.Source)
	}
	own := slices.ContainsFunc(in.Files, func(f BindFile) bool { return f.Source == m.Source && f.Destination == m.Destination }) ||
		slices.ContainsFunc(in.Volumes, func(v Volume) bool { return v.Source == m.Source && v.Destination == m.Destination })
	asked := slices.ContainsFunc(in.Container.GetMounts(), func(r *runtimeapi.Mount) bool {
		image := r.GetImage().GetImage()
		return inContainer(r.GetContainerPath()) == m.Destination &&
			(m.Type == MountTypeImage && image == m.Source || m.Type == "bind" && image == "" && path.Clean(r.GetHostPath()) == m.Source) &&
			(!r.GetReadonly() && image == "" || slices.Contains(m.Options, "ro") && !slices.Contains(m.Options, "rw")) &&
			(!r.GetRecursiveReadOnly() || slices.Contains(m.Options, "rro")) &&
			shared == (r.GetPropagation() == runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL && image == "")
	})
	if !asked && (!own || shared) {
		t.Errorf("nobody asked for %+v", m)
	}
	for _, option := range m.Options {
		if slices.Contains([]string{"exec", "suid", "dev"}, option) {
			t.Errorf("option %q", option)
		}
	}
	return shared
}

func checkDevicesOf(t *testing.T, in ContainerInput, l *specs.Linux) {
	t.Helper()
	for _, d := range l.Devices {
		clean(t, "device", d.Path)
		if below(d.Path, "/proc") || below(d.Path, "/sys") || ownDevices[d.Path] != (specs.LinuxDevice{}) {
			t.Errorf("device %+v", d)
		}
	}
	if in.Container.GetLinux().GetSecurityContext().GetPrivileged() {
		return
	}
	if first := l.Resources.Devices[0]; first.Allow || first.Access != "rwm" || first.Type != "" {
		t.Errorf("first device rule %+v", first)
	}
	for _, r := range l.Resources.Devices[1:] {
		base := slices.ContainsFunc(baseRules(), func(b specs.LinuxDeviceCgroup) bool { return reflect.DeepEqual(b, r) })
		if !base && !askedRule(in, r) {
			t.Errorf("nobody asked for %+v", r)
		}
	}
	if len(in.Container.GetDevices()) == 0 && len(l.Devices) > 0 {
		t.Errorf("devices %v", l.Devices)
	}
}

func askedRule(in ContainerInput, r specs.LinuxDeviceCgroup) bool {
	for _, d := range in.Container.GetDevices() {
		nodes, err := in.Host.ListDevices(path.Clean(d.GetHostPath()))
		if err == nil && accessOf(d) == r.Access && slices.ContainsFunc(nodes, func(n specs.LinuxDevice) bool {
			return r.Major != nil && r.Minor != nil && n.Type == r.Type && n.Major == *r.Major && n.Minor == *r.Minor
		}) {
			return true
		}
	}
	return false
}

func checkConfinementOf(t *testing.T, in ContainerInput, s *specs.Spec) {
	t.Helper()
	sc := in.Container.GetLinux().GetSecurityContext()
	for _, p := range slices.Concat(s.Linux.MaskedPaths, s.Linux.ReadonlyPaths) {
		clean(t, "hidden path", p)
	}
	if sc.GetPrivileged() {
		return
	}
	if kind := sc.GetSeccomp(); kind != nil && kind.GetProfileType() != runtimeapi.SecurityProfile_Unconfined && s.Linux.Seccomp == nil {
		t.Error("a profile was asked for and is missing")
	}
	if p := sc.GetApparmor(); p.GetProfileType() == runtimeapi.SecurityProfile_Localhost &&
		(s.Process.ApparmorProfile == "" || s.Process.ApparmorProfile != strings.TrimPrefix(p.GetLocalhostRef(), localhostPrefix)) {
		t.Errorf("profile %q", s.Process.ApparmorProfile)
	}
	if sc != nil && (len(s.Linux.MaskedPaths) != len(sc.GetMaskedPaths()) || len(s.Linux.ReadonlyPaths) != len(sc.GetReadonlyPaths())) ||
		sc == nil && len(s.Linux.MaskedPaths) == 0 {
		t.Errorf("masked %q, read-only %q", s.Linux.MaskedPaths, s.Linux.ReadonlyPaths)
	}
}

// checkUsersOf: a pod with a user namespace has all of its containers in it,
// and nobody in there is nobody outside.
func checkUsersOf(t *testing.T, in ContainerInput, l *specs.Linux) {
	t.Helper()
	uids, gids := UserNamespace(in.Pod)
	joined := slices.ContainsFunc(l.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace })
	if joined != (uids != nil) || !slices.Equal(l.UIDMappings, uids) || !slices.Equal(l.GIDMappings, gids) {
		t.Errorf("user namespace %v, %v, %v", joined, l.UIDMappings, l.GIDMappings)
	}
	if !slices.ContainsFunc(l.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.MountNamespace && n.Path == "" }) {
		t.Error("no mount namespace of its own")
	}
}

// checkPodInvariants: what is made of a pod's request.
func checkPodInvariants(t *testing.T, cfg *runtimeapi.PodSandboxConfig) {
	t.Helper()
	sysctls, err := PodSysctls(cfg)
	if err != nil {
		t.Errorf("sysctls of a checked pod: %v", err)
	}
	options := cfg.GetLinux().GetSecurityContext().GetNamespaceOptions()
	for k, v := range sysctls {
		parts := strings.FieldsFunc(k, func(r rune) bool { return r == '.' || r == '/' })
		net := parts[0] == "net" && options.GetNetwork() == runtimeapi.NamespaceMode_POD
		ipc := (parts[0] == "kernel" && slices.Contains(ipcSysctls, k) || strings.HasPrefix(k, "fs.mqueue.")) && options.GetIpc() == runtimeapi.NamespaceMode_POD
		if !net && !ipc || strings.Contains(k, "..") || strings.ContainsAny(v, "\n\x00") {
			t.Errorf("sysctl %q = %q", k, v)
		}
	}
	if p := cfg.GetLinux().GetCgroupParent(); p != "" && !below(path.Clean("/x/"+p), "/x/"+strings.Trim(p, "/")) || p != "" && strings.Trim(p, "/") == "" {
		t.Errorf("cgroup parent %q", p)
	}
	conf, err := ResolvConf(cfg.GetDnsConfig(), nil)
	if err != nil {
		t.Errorf("resolv.conf of a checked pod: %v", err)
	}
	for line := range strings.Lines(string(conf)) {
		if word, _, _ := strings.Cut(line, " "); !slices.Contains([]string{"search", "nameserver", "options"}, word) || !strings.HasSuffix(line, "\n") {
			t.Errorf("resolv.conf has %q", line)
		}
	}
	if hosts, err := Hosts(cfg.GetHostname(), []string{"10.0.0.1"}); err != nil || strings.Count(string(hosts), "\n") > 7 {
		t.Errorf("hosts %q, %v", hosts, err)
	}
}
