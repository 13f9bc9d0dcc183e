package crash

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/machine"
	"slipway/test/node"
)

// cycles is how many pods come and go.
const cycles = 100

// Pods that come and go leave no descriptor open and no goroutine running.
func TestNothingGrows(t *testing.T) {
	n := lab.New(t)
	for i := range 10 {
		cycle(n, i)
	}
	time.Sleep(time.Second)
	daemon, keeper := n.Daemon.Pid(), n.KeeperPid()
	before := [2]int{descriptors(t, daemon), descriptors(t, keeper)}
	few := goroutines(n)

	daemon = n.Daemon.Pid()
	for i := range cycles {
		cycle(n, i)
	}
	var after [2]int
	within(30*time.Second, func() bool {
		after = [2]int{descriptors(t, daemon), descriptors(t, keeper)}
		return after[0] <= before[0] && after[1] <= before[1]
	})
	t.Logf("descriptors of daemon and keeper: %v, after %d pods %v", before, cycles, after)
	if after[0] > before[0]+chance || after[1] > before[1]+spares {
		t.Errorf("descriptors: %v, after %d pods %v", before, cycles, after)
	}
	many := goroutines(n)
	t.Logf("goroutines: %d, after %d pods %d", few, cycles, many)
	if many > few+chance {
		t.Errorf("goroutines: %d, after %d pods %d\n%s", few, cycles, many, machine.Tail(n.Setup.Log, 400))
	}
}

// chance is what may differ by chance: less than one for each exec that was cut off.
const chance = cycles/10 - 1

// spares are the pipes that the keeper may keep for the next burst of output.
const spares = 8

func cycle(n *node.Node, i int) {
	cfg := n.PodConfig("grow")
	cfg.Metadata.Attempt = uint32(i)
	pod := n.RunPod(cfg)
	id := n.Run(pod, cfg, node.Container("c", "echo hi; sleep 100"))
	n.Exec(id, "true")
	if i%10 == 0 { // one that is cut off
		ctx, cancel := context.WithTimeout(n.T.Context(), 50*time.Millisecond)
		_, _, _ = n.Runtime.ExecSync(ctx, id, []string{"sleep", "100"}, 0)
		cancel()
	}
	if i%3 == 0 {
		must(n.T, n.Runtime.StopContainer(n.T.Context(), id, 0))
		n.WaitState(id, cri.ContainerState_CONTAINER_EXITED)
	}
	n.RemovePod(pod)
}

func descriptors(t *testing.T, pid int) int {
	t.Helper()
	d, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	must(t, err)
	return len(d)
}

// goroutines has the daemon end with a dump of all of them, and starts another.
func goroutines(n *node.Node) int {
	n.T.Helper()
	before, _ := os.ReadFile(n.Setup.Log)
	must(n.T, syscall.Kill(n.Daemon.Pid(), syscall.SIGQUIT))
	<-n.Daemon.Ended()
	after, err := os.ReadFile(n.Setup.Log)
	must(n.T, err)
	n.Start()
	return strings.Count(string(after[len(before):]), "\ngoroutine ")
}
