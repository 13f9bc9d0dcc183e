package house

import "strings"

// module is the import path of the repository's root.
const module = "slipway"

// rooms lists every package of the two programs, bottom up, with what else of
// ours it may import. A line names only lines above it: no way to write a cycle.
var rooms = []struct{ path, mayImport string }{
	{"conf", ""},
	{"oci", ""},
	{"cni/native", ""},
	{"cni", "cni/native"},

	{"imagestore/blob", ""},
	{"imagestore/registry", "imagestore/blob"},
	{"imagestore/layer", "imagestore/blob"},
	{"imagestore", "imagestore/blob imagestore/registry imagestore/layer"},
	{"imagestore/registrytest", "imagestore imagestore/blob imagestore/registry imagestore/layer"},

	// What both processes use.
	{"sandbox/linux", ""},
	{"sandbox/wire", ""},
	{"sandbox/logfile", ""},
	{"sandbox/seccomp", ""},
	{"sandbox/program/runner", "sandbox/linux"},
	{"sandbox/program", "sandbox/linux sandbox/program/runner"},
	{"sandbox/cgroup/systemd", ""},
	{"sandbox/cgroup", "sandbox/linux sandbox/cgroup/systemd"},

	// The keeper: nothing here reaches back into the daemon.
	{"sandbox/keeper", "sandbox/linux sandbox/wire sandbox/logfile sandbox/program/runner"},
	{"cmd/slipway-keeper", "sandbox/keeper"},

	// The daemon.
	{"sandbox", "oci cni imagestore sandbox/linux sandbox/wire sandbox/logfile sandbox/seccomp sandbox/program sandbox/cgroup"},
	{"server/streaming", ""},
	{"server/adminapi", ""},
	{"server", "sandbox imagestore server/streaming server/adminapi"},
	{"cmd/slipway", "conf oci cni imagestore sandbox sandbox/linux sandbox/wire sandbox/logfile sandbox/seccomp sandbox/program sandbox/cgroup server server/streaming server/adminapi"},
}

// workshop are the folders outside the two programs. They may import any room
// but the keeper's, and no room may import them.
var workshop = []string{"test", "hack"}

// only names the rooms that alone may import a package of others, and what is
// below it. The workshop is free: a test may run any program.
var only = []struct{ path, rooms, why string }{
	{"google.golang.org/grpc", "server server/streaming server/adminapi cmd/slipway", "requests are translated at the edge"},
	{"k8s.io/cri-api", "server server/streaming sandbox oci", "the CRI's types end at the sandbox"},
	{"golang.org/x/sys/unix", "sandbox/linux sandbox/program sandbox/program/runner sandbox/keeper sandbox/cgroup imagestore/layer imagestore/blob cni/native", "system calls stay behind the fence"},
	{"os/exec", "sandbox sandbox/keeper cni", "processes are started in few places"},
}

// keeperLinks are the only packages from outside the standard library and this
// repository that the keeper's binary may hold.
var keeperLinks = []string{"golang.org/x/sys/unix"}

// vague names say nothing of what a package is for.
var vague = []string{"pkg", "internal", "util", "utils", "common", "types", "helper", "helpers", "misc", "base", "lib", "shared", "core"}

// roomOf returns the line of a package; ok is false for one that has none.
func roomOf(pkg string) (mayImport string, ok bool) {
	for _, r := range rooms {
		if r.path == pkg {
			return r.mayImport, true
		}
	}
	return "", false
}

// inWorkshop tells whether a package is outside the two programs.
func inWorkshop(pkg string) bool {
	for _, w := range workshop {
		if pkg == w || strings.HasPrefix(pkg, w+"/") {
			return true
		}
	}
	return false
}
