package cni_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"slipway/cni"
)

// BenchmarkPod attaches and detaches pods with gateway, masquerade and one
// host port: by the reference plugins and natively, one at a time and ten, with
// others on the node and without. It shows the medians of ADD and of DEL.
func BenchmarkPod(b *testing.B) {
	if os.Getenv(insideVar) == "" {
		benchmarkOutside(b)
		return
	}
	h := newHost(b)
	h.write(turnsConfDefault)
	for _, c := range []struct {
		name   string
		native bool
		others int
		atOnce int
	}{
		{"exec", false, 0, 1},
		{"native", true, 0, 1},
		{"native-100", true, 100, 1},
		{"exec-parallel", false, 0, 10},
		{"native-parallel", true, 0, 10},
	} {
		b.Run(c.name, func(b *testing.B) {
			n := h.network(os.Getenv(insideVar), c.native)
			defer n.Close()
			var others []*cni.Attachment
			for i := range c.others {
				p := h.pod(fmt.Sprint("other", i), nil)
				a, err := h.attach(n, p)
				if err != nil {
					b.Fatal(err)
				}
				others = append(others, a)
			}
			measure(b, h, n, c.atOnce)
			for _, a := range others {
				_ = n.Detach(b.Context(), h.pods[a.PodID].Pod, a)
				h.pods[a.PodID].gone()
			}
		})
	}
}

const turnsConfDefault = `{"cniVersion":"1.0.0","name":"bench","plugins":[
  {"type":"bridge","bridge":"br9","isGateway":true,"ipMasq":true,"hairpinMode":true,"ipam":{"type":"host-local","dataDir":"/run/cni/addresses",
    "ranges":[[{"subnet":"10.88.0.0/18"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
  {"type":"portmap","capabilities":{"portMappings":true}}]}`

func measure(b *testing.B, h *host, n *cni.Network, atOnce int) {
	var mu sync.Mutex
	var adds, dels []time.Duration
	for i := 0; b.Loop(); i++ {
		var all sync.WaitGroup
		for j := range atOnce {
			p := h.pod(fmt.Sprintf("b%d-%d", i, j), []cni.PortMapping{{HostPort: int32(8000 + j), ContainerPort: 80, Protocol: "tcp"}})
			all.Go(func() {
				start := time.Now()
				a, err := h.attach(n, p)
				add := time.Since(start)
				if err != nil {
					b.Error(err)
					return
				}
				start = time.Now()
				if err := n.Detach(b.Context(), p.Pod, a); err != nil {
					b.Error(err)
				}
				del := time.Since(start)
				mu.Lock()
				defer mu.Unlock()
				adds, dels = append(adds, add), append(dels, del)
			})
		}
		all.Wait()
		for j := range atOnce {
			h.pods[fmt.Sprintf("b%d-%d", i, j)].gone()
		}
	}
	for name, d := range map[string][]time.Duration{"ADD": adds, "DEL": dels} {
		slices.Sort(d)
		if len(d) > 0 {
			b.ReportMetric(float64(d[len(d)/2].Microseconds())/1000, name+"-ms")
		}
	}
}

func benchmarkOutside(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	inside := exec.CommandContext(b.Context(), self, "-test.run=^$", "-test.bench=^BenchmarkPod$", "-test.benchtime=10x", "-test.timeout=3m")
	inside.Env = append(os.Environ(), insideVar+"="+builtPlugins(b))
	inside.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the death signal follows the thread
	defer runtime.UnlockOSThread()
	out, err := inside.CombinedOutput()
	b.Logf("%s", out)
	if err != nil {
		b.Fatal(err)
	}
}
