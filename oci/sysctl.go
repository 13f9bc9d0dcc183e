package oci

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxSysctlValue bounds a value, in bytes: one page is what the kernel takes.
const maxSysctlValue = 4096

// ipcSysctls belong to the IPC namespace, as does all of fs.mqueue.
var ipcSysctls = []string{
	"kernel.auto_msgmni", "kernel.msg_next_id", "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni",
	"kernel.sem", "kernel.sem_next_id", "kernel.shm_next_id", "kernel.shm_rmid_forced",
	"kernel.shmall", "kernel.shmmax", "kernel.shmmni",
}

// PodSysctls gives the sysctls of a pod, in dotted form (with slashes where a
// part holds a dot, as some interface names do): what the request names, each
// checked to belong to a namespace that the pod has of its own, and as
// containerd does, leave to open low ports and ICMP echo sockets.
func PodSysctls(cfg *runtimeapi.PodSandboxConfig) (map[string]string, error) {
	options := cfg.GetLinux().GetSecurityContext().GetNamespaceOptions()
	ownNet := options.GetNetwork() != runtimeapi.NamespaceMode_NODE
	ownIPC := options.GetIpc() != runtimeapi.NamespaceMode_NODE
	out := make(map[string]string)
	if ownNet {
		out["net.ipv4.ip_unprivileged_port_start"] = "0"
		last := uint32(maxID)
		if _, gids := UserNamespace(cfg); len(gids) > 0 { // those that have a mapping
			last = gids[0].Size - 1
		}
		out["net.ipv4.ping_group_range"] = "0 " + strconv.FormatUint(uint64(min(last, maxID)), 10)
	}
	asked := cfg.GetLinux().GetSysctls()
	for _, key := range slices.Sorted(maps.Keys(asked)) {
		name, err := sysctlName(key)
		if err == nil {
			err = checkSysctlScope(name, ownNet, ownIPC)
		}
		if err == nil {
			err = checkSysctlValue(asked[key])
		}
		if err != nil {
			return nil, inField("sysctls", invalid("%q: %w", key, err))
		}
		out[name] = asked[key]
	}
	return out, nil
}

// sysctlName checks the grammar, strictly (CVE-2022-0811), and gives one form
// for the two that exist: a.b.c and a/b/c, where in each the other character
// may stand for itself.
func sysctlName(key string) (string, error) {
	separator, other := byte('.'), "/"
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '/' {
		separator, other = '/', "."
	}
	parts := strings.Split(key, string(separator))
	if len(parts) < 2 || len(key) > maxName {
		return "", invalid("not the name of a sysctl")
	}
	dotted := true
	for i, p := range parts {
		if other == "/" {
			p = strings.ReplaceAll(p, "/", ".")
		}
		if p == "" || p[0] == '.' || !onlyNameBytes(p) {
			return "", invalid("not the name of a sysctl")
		}
		dotted = dotted && !strings.Contains(p, ".")
		parts[i] = p
	}
	if dotted {
		return strings.Join(parts, "."), nil
	}
	return strings.Join(parts, "/"), nil
}

func checkSysctlScope(name string, ownNet, ownIPC bool) error {
	dotted := strings.ReplaceAll(name, "/", ".")
	switch {
	case strings.HasPrefix(dotted, "net."):
		if !ownNet {
			return invalid("the pod uses the host's network")
		}
	case strings.HasPrefix(dotted, "fs.mqueue."), slices.Contains(ipcSysctls, name):
		if !ownIPC {
			return invalid("the pod uses the host's IPC namespace")
		}
	default:
		return invalid("belongs to no namespace of a pod")
	}
	return nil
}

func checkSysctlValue(v string) error {
	if len(v) > maxSysctlValue {
		return invalid("a value of %d bytes, the longest is %d", len(v), maxSysctlValue)
	}
	for i := range len(v) {
		if c := v[i]; c != '\t' && (c < ' ' || c > '~') {
			return invalid("value %q", v)
		}
	}
	return nil
}
