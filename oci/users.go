package oci

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// UserNamespace gives the id maps of the user namespace that a pod asks for;
// none without one. The request must have passed CheckPod.
func UserNamespace(cfg *runtimeapi.PodSandboxConfig) (uids, gids []specs.LinuxIDMapping) {
	o := cfg.GetLinux().GetSecurityContext().GetNamespaceOptions().GetUsernsOptions()
	if !asksUsers(o) {
		return nil, nil
	}
	return idMapOf(o.GetUids()), idMapOf(o.GetGids())
}

// asksUsers tells whether a user namespace is asked for. Nothing said means the
// host's: the kubelet says NODE, and what is older has no mappings to give.
func asksUsers(o *runtimeapi.UserNamespace) bool {
	return o != nil && o.GetMode() != runtimeapi.NamespaceMode_NODE
}

func idMapOf(list []*runtimeapi.IDMapping) []specs.LinuxIDMapping {
	var out []specs.LinuxIDMapping
	for _, m := range list {
		out = append(out, specs.LinuxIDMapping{ContainerID: m.GetContainerId(), HostID: m.GetHostId(), Size: m.GetLength()})
	}
	return out
}

// checkUsers checks the user namespace of a request: just one mapping of each
// kind, and root among the ids.
func checkUsers(o *runtimeapi.UserNamespace) error {
	if !asksUsers(o) {
		return nil
	}
	if o.GetMode() != runtimeapi.NamespaceMode_POD {
		return invalid("mode: %s is not possible", o.GetMode())
	}
	for _, f := range []struct {
		name string
		list []*runtimeapi.IDMapping
	}{{"uids", o.GetUids()}, {"gids", o.GetGids()}} {
		if len(f.list) != 1 {
			return invalid("%s: %d mappings, there must be one", f.name, len(f.list))
		}
		if err := checkIDMap(f.list); err != nil {
			return inField(f.name, err)
		}
		if f.list[0].GetContainerId() != 0 {
			return invalid("%s: id 0 of the container has no mapping", f.name)
		}
	}
	return nil
}

// checkIDMap checks mappings one by one; ids end below 2^32-1, which is none.
func checkIDMap(list []*runtimeapi.IDMapping) error {
	const end = 1<<32 - 1
	for _, m := range list {
		n := uint64(m.GetLength())
		if n == 0 || uint64(m.GetContainerId())+n > end || uint64(m.GetHostId())+n > end {
			return invalid("mapping %d:%d of length %d", m.GetContainerId(), m.GetHostId(), m.GetLength())
		}
	}
	return nil
}

// checkSameUsers checks that a container asks for the user namespace of its pod,
// or leaves that to the pod.
func checkSameUsers(container, pod *runtimeapi.UserNamespace) error {
	if container == nil || !asksUsers(container) && !asksUsers(pod) {
		return nil
	}
	if asksUsers(container) != asksUsers(pod) ||
		!slices.Equal(idMapOf(container.GetUids()), idMapOf(pod.GetUids())) ||
		!slices.Equal(idMapOf(container.GetGids()), idMapOf(pod.GetGids())) {
		return invalid("userns_options: not those of the pod")
	}
	return nil
}

// joinUsers adds the pod's user namespace to a spec, and checks that whoever
// runs has an id in it.
func joinUsers(in ContainerInput, l *specs.Linux) error {
	uids, gids := UserNamespace(in.Pod)
	if uids == nil {
		return nil
	}
	if !mapped(uids, in.User.UID) {
		return invalid("user %d has no mapping in the user namespace of the pod", in.User.UID)
	}
	for _, g := range append([]uint32{in.User.GID}, in.User.Groups...) {
		if !mapped(gids, g) {
			return invalid("group %d has no mapping in the user namespace of the pod", g)
		}
	}
	l.UIDMappings, l.GIDMappings = uids, gids
	l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: "slipway:" + in.PodID + "/user"})
	return nil
}

func mapped(list []specs.LinuxIDMapping, id uint32) bool {
	return slices.ContainsFunc(list, func(m specs.LinuxIDMapping) bool { return id >= m.ContainerID && id-m.ContainerID < m.Size })
}
