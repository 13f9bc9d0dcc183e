package cri

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/node"
)

// configure adds to a node's configuration and starts its daemon again.
func configure(n *node.Node, text string) {
	n.T.Helper()
	must(n.T, n.Daemon.Stop())
	f, err := os.OpenFile(n.Setup.Config, os.O_APPEND|os.O_WRONLY, 0)
	must(n.T, err)
	_, err = f.WriteString(text)
	must(n.T, err)
	must(n.T, f.Close())
	n.Start()
}

// A RuntimeClass chooses a named configuration; the pod keeps it.
func TestRuntimeHandlers(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("handled")
	podCfg.Linux.SecurityContext.Privileged = true
	_, err := n.Runtime.RunPodSandbox(t.Context(), podCfg, "strict")
	if err == nil || !strings.Contains(err.Error(), `no runtime for "strict" is configured`) {
		t.Errorf("an unknown handler: %v", err)
	}
	was, err := os.ReadFile(n.Setup.Config)
	must(t, err)
	profile := filepath.Join(n.Setup.Dir, "strict.json")
	must(t, os.WriteFile(profile, []byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["sethostname","mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}`), 0o600))
	configure(n, "\n[handlers.strict]\nseccomp_profile = \""+profile+"\"\ndefault_ulimits = [\"core=7:8\"]\nprivileged_without_host_devices = true\n")

	status, err := n.Runtime.Status(t.Context(), false)
	must(t, err)
	var names []string
	for _, h := range status.GetRuntimeHandlers() {
		names = append(names, h.GetName())
	}
	if strings.Join(names, ",") != ",strict" {
		t.Errorf("handlers %q", names)
	}

	pod, err := n.Runtime.RunPodSandbox(t.Context(), podCfg, "strict")
	must(t, err)
	cfg := node.Container("main", "sleep 1000")
	cfg.Linux.SecurityContext.Seccomp = &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}
	id := n.Run(pod, podCfg, cfg)
	if got := n.Exec(id, "sh", "-c", "ulimit -c; ulimit -Hc; mkdir /made 2>/dev/null && echo made"+" || echo refused"); strings.Fields(got)[2] != "refused" {
		t.Errorf("%q", got)
	}
	loud := node.Container("privileged", "ls /dev; sleep 1000")
	loud.Linux.SecurityContext.Privileged = true
	devices := n.Exec(n.Run(pod, podCfg, loud), "ls", "/dev")
	host, err := os.Stat("/dev/kmsg")
	if err == nil && host.Mode()&os.ModeCharDevice != 0 && strings.Contains(devices, "kmsg") {
		t.Errorf("a privileged container sees\n%s", devices)
	}

	// The handler is the pod's after a restart too; one that is taken away
	// leaves what runs alone, and refuses more.
	must(t, n.Daemon.Stop())
	n.Start()
	if s := podStatus(n, pod); s.GetRuntimeHandler() != "strict" || s.GetState() != cri.PodSandboxState_SANDBOX_READY {
		t.Errorf("after a restart: %v", s)
	}
	again := node.Container("again", "mkdir /made || exit 5")
	again.Linux.SecurityContext.Seccomp = cfg.Linux.SecurityContext.Seccomp
	if s := n.WaitState(n.Run(pod, podCfg, again), cri.ContainerState_CONTAINER_EXITED); s.GetExitCode() != 5 {
		t.Errorf("after a restart: %v", s)
	}
	must(t, n.Daemon.Stop())
	must(t, os.WriteFile(n.Setup.Config, was, 0o644))
	n.Start()
	if _, err := n.Runtime.CreateContainer(t.Context(), pod, node.Container("late", "true"), podCfg); err == nil || !strings.Contains(err.Error(), `no runtime for "strict"`) {
		t.Errorf("a container of a handler that was taken away: %v", err)
	}
	if s := n.Status(id); s.GetState() != cri.ContainerState_CONTAINER_RUNNING {
		t.Errorf("it took its containers along: %v", s)
	}
}

func podStatus(n *node.Node, pod string) *cri.PodSandboxStatus {
	n.T.Helper()
	r, err := n.Runtime.PodSandboxStatus(n.T.Context(), pod, false)
	must(n.T, err)
	return r.GetStatus()
}

// A device is described by a file while the daemon runs, and reaches containers.
func TestCDI(t *testing.T) {
	n := newNode(t)
	dir := filepath.Join(n.Setup.Dir, "cdi")
	configure(n, "\ncdi_spec_dirs = [\""+dir+"\"]\n")
	podCfg := n.PodConfig("cdi")
	pod := n.RunPod(podCfg)
	cfg := node.Container("main", "sleep 1000")
	cfg.CDIDevices = []*cri.CDIDevice{{Name: "example.com/tool=one"}}
	_, err := n.Runtime.CreateContainer(t.Context(), pod, cfg, podCfg)
	if err == nil || !strings.Contains(err.Error(), "InvalidArgument") || !strings.Contains(err.Error(), `"example.com/tool=one" is not known in `+dir) {
		t.Errorf("before there is a description: %v", err)
	}

	must(t, os.MkdirAll(filepath.Join(dir, "files"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "files", "lib"), []byte("of the vendor"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "bad.json"), []byte("{"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "tool.yaml"), []byte(`cdiVersion: 0.7.0
kind: example.com/tool
containerEdits:
  mounts:
  - {hostPath: `+dir+`/files, containerPath: /opt/vendor, options: [ro, nosuid, nodev, rbind]}
devices:
- name: one
  containerEdits:
    env: [TOOL=one]
    additionalGids: [4242]
    deviceNodes:
    - {path: /dev/tool0, hostPath: /dev/zero}
    - {path: /dev/tool1, type: c, major: 10, minor: 229, permissions: r}
- name: hooked
  containerEdits:
    hooks:
    - {hookName: createContainer, path: /usr/bin/vendor-hook}
`), 0o644))
	id := n.Run(pod, podCfg, cfg)
	got := n.Exec(id, "sh", "-c", `echo $TOOL; cat /opt/vendor/lib; echo; touch /opt/vendor/x 2>/dev/null || echo readonly; head -c 4 /dev/tool0 | wc -c; id -G`)
	got += n.Exec(id, "sh", "-c", `(: < /dev/tool1) 2>&1 | grep -q permitted || echo may read; (: > /dev/tool1) 2>&1 | grep -q permitted && echo may not write`)
	want := []string{"one", "of the vendor", "readonly", "4", "4242", "may read", "may not write"}
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("no %q in\n%s", w, got)
		}
	}
	cfg = node.Container("hooked", "true")
	cfg.Annotations = map[string]string{"cdi.k8s.io/vendor": "example.com/tool=hooked"}
	if _, err := n.Runtime.CreateContainer(t.Context(), pod, cfg, podCfg); err == nil || !strings.Contains(err.Error(), "/usr/bin/vendor-hook") {
		t.Errorf("a device with a hook: %v", err)
	}
	must(t, n.Daemon.Kill())
	n.Start()
	if got := n.Exec(id, "sh", "-c", "echo $TOOL; ls /opt/vendor"); got != "one\nlib" {
		t.Errorf("after a restart: %q", got)
	}
}
