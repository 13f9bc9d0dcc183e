package cri

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/machine"
	"slipway/test/node"
	"slipway/test/systemd"
)

// newSystemdNode starts a daemon with the systemd driver, and a systemd for it.
func newSystemdNode(t *testing.T) (*node.Node, *systemd.Manager, string) {
	t.Helper()
	n := newNode(t)
	f, err := systemd.Start(t.TempDir())
	must(t, err)
	slice := strings.ReplaceAll(strings.Trim(lab.Machine.Cgroup, "/"), "-", "_") + ".slice"
	must(t, n.Daemon.Stop())
	must(t, os.WriteFile(n.Setup.Config, []byte("cgroup_driver = \"systemd\"\ncgroup_parent = \""+slice+"\"\n"), 0o644))
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", f.Address())
	n.Start()
	t.Cleanup(func() { // before the node's own, which ends the daemon
		f.Set(systemd.Faults{})
		n.RemoveAll()
		if left := f.Units(); len(left) > 0 {
			t.Errorf("scopes left: %q", left)
		}
		for _, dir := range machine.Hierarchies("/" + slice) {
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("left in the slice: %v", err)
			}
		}
		f.Leave()
	})
	return n, f, slice
}

func TestSystemdDriver(t *testing.T) {
	n, f, slice := newSystemdNode(t)
	rc, err := n.Runtime.RuntimeConfig(t.Context())
	if err != nil || rc.GetLinux().GetCgroupDriver() != cri.CgroupDriver_SYSTEMD {
		t.Errorf("RuntimeConfig: %v, %v", rc, err)
	}
	podCfg := n.PodConfig("scopes")
	podCfg.Linux.CgroupParent = "/kubepods/pod1"
	if _, err := n.Runtime.RunPodSandbox(t.Context(), podCfg, ""); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a parent of the other driver: %v", err)
	}
	podCfg.Linux.CgroupParent = slice
	podCfg.Linux.SecurityContext.NamespaceOptions.Pid = cri.NamespaceMode_POD // with a PID 1 of its own
	pod := n.RunPod(podCfg)
	cfg := node.Container("c", "sleep 1000")
	cfg.Linux.SecurityContext.NamespaceOptions.Pid = cri.NamespaceMode_POD
	cfg.Linux.Resources = &cri.LinuxContainerResources{MemoryLimitInBytes: 64 * mib, CpuShares: 512}
	id := n.Run(pod, podCfg, cfg)
	if got, want := f.Units(), []string{"slipway-" + pod + ".scope", "slipway-" + id + ".scope"}; !sameSet(got, want) {
		t.Errorf("scopes %q, want %q", got, want)
	}
	memory := func() string {
		u, _ := f.Unit("slipway-" + id + ".scope")
		return fmt.Sprint(u.Props["MemoryMax"], u.Props["MemoryLimit"])
	}
	if !strings.Contains(memory(), fmt.Sprint(64*mib)) {
		t.Errorf("systemd knows of a memory limit %s", memory())
	}
	if out := n.Exec(id, "cat", "/proc/self/cgroup"); strings.Contains(out, slice) {
		t.Errorf("inside, the host's path is seen:\n%s", out)
	}
	must(t, update(t, n, id, &cri.LinuxContainerResources{MemoryLimitInBytes: 80 * mib}))
	if !strings.Contains(memory(), fmt.Sprint(80*mib)) {
		t.Errorf("after the update: %s", memory())
	}
	f.Set(systemd.Faults{Errors: map[string]string{"SetUnitProperties": "org.freedesktop.DBus.Error.Failed"}})
	if err := update(t, n, id, &cri.LinuxContainerResources{MemoryLimitInBytes: 90 * mib}); err == nil {
		t.Error("refused by systemd: no error")
	}
	if got := n.Status(id).GetResources().GetLinux().GetMemoryLimitInBytes(); got != 80*mib {
		t.Errorf("refused by systemd: status says %d", got)
	}
	f.Set(systemd.Faults{})
	must(t, n.Runtime.StopContainer(t.Context(), id, 0))
	node.Until(t, "the scope of a stopped container is gone", func() bool { return len(f.Units()) == 1 })
}

// A scope that cannot be had is the reason that is told, and nothing is left.
func TestSystemdRefuses(t *testing.T) {
	n, f, _ := newSystemdNode(t)
	podCfg := n.PodConfig("refused")
	pod := n.RunPod(podCfg)
	f.Set(systemd.Faults{Errors: map[string]string{"StartTransientUnit": "org.freedesktop.DBus.Error.InvalidArgs"}})
	id, err := n.Runtime.CreateContainer(t.Context(), pod, node.Container("c", "sleep 1000"), podCfg)
	must(t, err)
	if err := n.Runtime.StartContainer(t.Context(), id); err == nil || !strings.Contains(err.Error(), "InvalidArgs") || strings.Contains(err.Error(), "gate") {
		t.Errorf("start: %v", err)
	}
	if s := n.Status(id); s.State != cri.ContainerState_CONTAINER_EXITED || s.Reason != "StartError" {
		t.Errorf("%s, %s", s.State, s.Reason)
	}
}

// However a start is cut off by the daemon's death, the next one leaves no scope,
// no directory and no process of it.
func TestSystemdCutOff(t *testing.T) {
	for name, faults := range map[string]systemd.Faults{
		"before systemd answers":   {Deaf: true},
		"before the job has ended": {Silent: true},
	} {
		t.Run(name, func(t *testing.T) {
			n, f, slice := newSystemdNode(t)
			podCfg := n.PodConfig("cut")
			pod := n.RunPod(podCfg)
			id, err := n.Runtime.CreateContainer(t.Context(), pod, node.Container("c", "sleep 1000"), podCfg)
			must(t, err)
			f.Set(faults)
			started := make(chan error, 1)
			go func() { started <- n.Runtime.StartContainer(t.Context(), id) }()
			node.Until(t, "systemd is asked for a scope", func() bool {
				return slices.Contains(f.Calls(), "StartTransientUnit slipway-"+id+".scope")
			})
			_ = n.Daemon.Kill()
			if err := <-started; err == nil {
				t.Error("the start has succeeded")
			}
			f.Set(systemd.Faults{})
			n.Start()
			node.Until(t, "its scope is gone", func() bool { return len(f.Units()) == 0 })
			for _, dir := range machine.Hierarchies("/" + slice + "/slipway-" + id + ".scope") {
				node.Until(t, dir+" is gone", func() bool { _, err := os.Stat(dir); return errors.Is(err, fs.ErrNotExist) })
			}
			if s := n.Status(id).State; s == cri.ContainerState_CONTAINER_RUNNING {
				t.Errorf("the container is %s", s)
			}
			other := n.Run(pod, podCfg, node.Container("other", "sleep 1000"))
			if got := f.Units(); len(got) != 1 || got[0] != "slipway-"+other+".scope" {
				t.Errorf("scopes %q", got)
			}
		})
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}
