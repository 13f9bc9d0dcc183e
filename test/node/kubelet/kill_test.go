package kubelet

import (
	"slices"
	"strings"
	"syscall"
	"testing"

	"slipway/test/node"
)

// Kubelet, daemon and keeper are killed, one by one and together. Pods stay up:
// the same containers, never started again, at the same address; the node goes
// on to do all that it did.
func TestKills(t *testing.T) {
	k := newKubelet(t)
	k.pod("steady")
	before := k.ready("steady")
	for _, strike := range []struct {
		name string
		kill func()
	}{
		{"kubelet", func() { k.kill(); k.start() }},
		{"daemon", func() { _ = k.Daemon.Kill(); k.Start() }},
		{"keeper", k.killKeeper},
		{"daemon and keeper", func() {
			keeper := k.KeeperPid()
			_ = k.Daemon.Kill()
			k.must(syscall.Kill(keeper, syscall.SIGKILL))
			k.Start()
		}},
		{"all", func() {
			keeper := k.KeeperPid()
			k.kill()
			_ = k.Daemon.Kill()
			k.must(syscall.Kill(keeper, syscall.SIGKILL))
			k.Start()
			k.start()
		}},
	} {
		strike.kill()
		// Whatever the kubelet makes of it, it has seen it after one more pod.
		k.pod("streams")
		k.ready("streams")
		k.gone("streams")

		after := k.ready("steady")
		want(t, strike.name+": containers", ids(after), ids(before))
		want(t, strike.name+": address", after.Status.PodIP, before.Status.PodIP)
		for _, c := range slices.Concat(after.Status.Init, after.Status.Containers) {
			if c.RestartCount != 0 {
				t.Errorf("%s: %s was started %d times again", strike.name, c.Name, c.RestartCount)
			}
		}
		want(t, strike.name+": exec", k.sh("steady", "ticks", "echo hi"), "hi")
	}
	want(t, "starts", k.read(k.share("starts")), "init\nside\nticks\n")
	lines := strings.Fields(k.log("steady", "ticks", ""))
	k.until("the log goes on", func() bool { return len(strings.Fields(k.log("steady", "ticks", ""))) > len(lines) })
}

func (k *kubelet) killKeeper() {
	k.T.Helper()
	old := k.KeeperPid()
	k.must(syscall.Kill(old, syscall.SIGKILL))
	node.Until(k.T, "another keeper", func() bool { pid, ok := k.Keeper(); return ok && pid != old })
}

// ids of all containers of a pod.
func ids(p pod) string {
	var all []string
	for _, c := range slices.Concat(p.Status.Init, p.Status.Containers) {
		all = append(all, c.Name+"="+c.ContainerID)
	}
	return strings.Join(all, " ")
}
