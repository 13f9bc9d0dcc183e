package kubelet

import (
	"strings"
	"testing"
)

// Probes of all kinds reach a container: it is ready while one succeeds, and
// started again when one says that it is dead.
func TestProbes(t *testing.T) {
	k := newKubelet(t)
	k.pod("probes")
	k.until("both have started", func() bool {
		p := k.look("probes")
		return p.container("web").State.Running != nil && p.container("alive").Ready
	})
	if p := k.look("probes"); p.container("web").Ready || p.ready() {
		t.Errorf("ready without an answer of 200:\n%s", k.describe())
	}
	k.sh("probes", "web", "touch /www/ready")
	p := k.ready("probes")
	first := p.container("alive").ContainerID

	k.sh("probes", "web", "rm /www/ready")
	k.until("it is no longer ready", func() bool { p := k.look("probes"); return !p.ready() })

	k.sh("probes", "alive", "rm /tmp/alive")
	k.until("it was started again", func() bool {
		p := k.look("probes")
		c := p.container("alive")
		return c.RestartCount == 1 && c.Ready && c.ContainerID != first
	})
	p = k.look("probes")
	if last := p.container("alive").LastState.Terminated; last == nil || last.ExitCode != 9 {
		t.Errorf("it ended so: %s; want code 9, of its trap", p.container("alive").LastState)
	}
	if n := p.container("web").RestartCount; n != 0 {
		t.Errorf("the other was started %d times again", n)
	}
	k.until("the log of the second run", func() bool { return strings.Count(k.log("probes", "alive", ""), "started") == 1 })
}
