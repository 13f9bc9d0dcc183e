package crash

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/gate"
	"slipway/test/node"
)

// A start that is cut off while the ids of a mount are mapped leaves no user
// namespace with the keeper, though the container is still there.
func TestMappingOfACutStart(t *testing.T) {
	n := lab.NewGated(t)
	cfg := n.PodConfig("mapped")
	pod := n.RunPod(cfg)
	ctr := node.Container("c", "sleep 100")
	ids := []*cri.IDMapping{{HostId: 100_000, ContainerId: 0, Length: 65_536}}
	ctr.Mounts = []*cri.Mount{{HostPath: t.TempDir(), ContainerPath: "/mnt", UidMappings: ids, GidMappings: ids}}
	id, err := n.Runtime.CreateContainer(t.Context(), pod, ctr, cfg)
	must(t, err)
	held := 0
	for k := range 60 { // the mapping comes early in a start
		seen := 0
		n.Gate.Watch(func(gate.Event) syscall.Errno {
			if seen++; seen == k+1 {
				_ = syscall.Kill(n.Daemon.Pid(), syscall.SIGKILL)
			}
			return 0
		})
		err := n.Runtime.StartContainer(context.Background(), id)
		n.Gate.Watch(nil)
		if seen <= k || err == nil {
			break
		}
		_ = n.Daemon.Kill()
		held += userNamespaces(t, n.KeeperPid())
		n.Start()
		if !within(retryFor, func() bool { return userNamespaces(t, n.KeeperPid()) == 0 }) {
			t.Fatalf("killed before step %d: the keeper still holds a user namespace", k+1)
		}
	}
	if held == 0 {
		t.Error("no start was cut off while the keeper held a user namespace")
	}
}

// userNamespaces counts those that a process holds by descriptors.
func userNamespaces(t *testing.T, pid int) int {
	t.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	must(t, err)
	count := 0
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "user:[") {
			count++
		}
	}
	return count
}
