package oci

import (
	"io"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Container gives the spec of a container: process, mounts, namespaces, limits,
// confinement. ErrInvalid names what cannot be granted.
func Container(in ContainerInput) (*specs.Spec, error) { return nil, invalid("not built yet") }

// Exec gives the process of an exec in a container made from spec: its
// environment (bytes as in the running spec), user, capabilities, limits and
// working directory with another command line and terminal.
func Exec(spec *specs.Spec, cmd []string, tty bool) (*specs.Process, error) {
	return nil, invalid("not built yet")
}

// RestoreEnv puts the environment of the CRI request back into a spec that was
// read from JSON: values may be any bytes, which JSON strings cannot hold.
func RestoreEnv(spec *specs.Spec, c *runtimeapi.ContainerConfig) {}

// UserRequest says who a container runs as, before names are looked up.
type UserRequest struct {
	User   string   // name or decimal uid, "" = 0
	Group  string   // name or decimal gid, "" = the user's in passwd, else 0
	Groups []uint32 // supplemental groups of the request
	Strict bool     // leave out the groups of the image's /etc/group
}

// User is a resolved UserRequest.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplemental, sorted as found, no duplicates, with GID
	Home     string   // of the passwd entry; "" without one
	Name     string   // of the passwd entry; "" without one
}

// UserOf says whom a container asks to run as: the CRI's user, else the
// image's, else uid 0.
func UserOf(c *runtimeapi.ContainerConfig, img ImageConfig) (UserRequest, error) {
	return UserRequest{}, invalid("not built yet")
}

// LookupUser resolves a request against the image's /etc/passwd and /etc/group;
// a nil reader stands for a missing file. Both are hostile.
func LookupUser(passwd, group io.Reader, req UserRequest) (User, error) {
	return User{}, invalid("not built yet")
}

// StopSignal is the signal that asks a container to stop: the CRI's, else the
// image's STOPSIGNAL (name or number), else SIGTERM.
func StopSignal(c *runtimeapi.ContainerConfig, img ImageConfig) (syscall.Signal, error) {
	return 0, invalid("not built yet")
}

// SignalName gives "SIGTERM", "SIGRTMIN+3" and so on; "" for no signal.
func SignalName(s syscall.Signal) string { return "" }

// CRISignal gives the CRI's name of a signal, for ContainerStatus.
func CRISignal(s syscall.Signal) runtimeapi.Signal { return 0 }

// SeccompFile names the host file that holds the Localhost profile a container
// asks for; "" when it asks for none. Its content goes to ContainerInput.Seccomp.
func SeccompFile(c *runtimeapi.ContainerConfig) (string, error) { return "", nil }

// VolumePaths lists the destinations of the image's VOLUMEs that no CRI mount
// covers, cleaned and sorted: the directories that a container needs.
func VolumePaths(img ImageConfig, c *runtimeapi.ContainerConfig) ([]string, error) { return nil, nil }

// PodSysctls gives the sysctls of a pod, in dotted form (slashes where a part
// holds a dot), checked to lie in a namespace that the pod has of its own.
func PodSysctls(cfg *runtimeapi.PodSandboxConfig) (map[string]string, error) { return nil, nil }

// LogPath joins a pod's log directory and a container's log path; "" when
// either is empty (no log is kept).
func LogPath(logDirectory, logPath string) (string, error) { return "", nil }

// ResolvConf gives a pod's resolv.conf: a nil dns is the host's file as it is.
func ResolvConf(dns *runtimeapi.DNSConfig, host []byte) ([]byte, error) { return nil, nil }

// Hosts gives an /etc/hosts for a pod that brings none: localhost and the
// pod's addresses.
func Hosts(hostname string, ips []string) ([]byte, error) { return nil, nil }

// CheckPod checks every field of a pod request that can be checked without the
// host, and names the first that is wrong.
func CheckPod(cfg *runtimeapi.PodSandboxConfig) error { return nil }

// CheckContainer does the same for a container request; pod is the request of
// its pod.
func CheckContainer(cfg *runtimeapi.ContainerConfig, pod *runtimeapi.PodSandboxConfig) error {
	return nil
}
