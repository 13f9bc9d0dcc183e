package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Busybox is an image of the registry with a shell.
const Busybox = "registry.k8s.io/e2e-test-images/busybox:1.29-2"

// PodConfig is a small pod's; change it before use.
func (n *Node) PodConfig(name string) *cri.PodSandboxConfig {
	return &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Namespace: "test", Uid: name + "-uid"},
		Hostname:     name,
		LogDirectory: filepath.Join(n.Logs, name),
		Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER},
		}},
	}
}

// Pod runs a small pod.
func (n *Node) Pod(name string) string { return n.RunPod(n.PodConfig(name)) }

// RunPod runs a pod and returns its id.
func (n *Node) RunPod(cfg *cri.PodSandboxConfig) string {
	n.T.Helper()
	id, err := n.Runtime.RunPodSandbox(n.T.Context(), cfg, "")
	if err != nil {
		n.T.Fatalf("run pod: %v", err)
	}
	return id
}

// Container is a shell script's; change it before use.
func Container(name, script string) *cri.ContainerConfig {
	return &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: name},
		Image:    &cri.ImageSpec{Image: Busybox},
		Command:  []string{"sh", "-c", script},
		LogPath:  name + ".log",
		Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER},
		}},
	}
}

// Run creates and starts a container.
func (n *Node) Run(pod string, podCfg *cri.PodSandboxConfig, cfg *cri.ContainerConfig) string {
	n.T.Helper()
	id, err := n.Runtime.CreateContainer(n.T.Context(), pod, cfg, podCfg)
	if err != nil {
		n.T.Fatalf("create container: %v", err)
	}
	if err := n.Runtime.StartContainer(n.T.Context(), id); err != nil {
		n.T.Fatalf("start container: %v", err)
	}
	return id
}

// Status is a container's.
func (n *Node) Status(id string) *cri.ContainerStatus {
	n.T.Helper()
	r, err := n.Runtime.ContainerStatus(context.Background(), id, false)
	if err != nil {
		n.T.Fatalf("container status: %v", err)
	}
	return r.Status
}

// WaitState waits for a container to be in a state.
func (n *Node) WaitState(id string, want cri.ContainerState) *cri.ContainerStatus {
	n.T.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		s := n.Status(id)
		if s.State == want {
			return s
		}
		if time.Now().After(end) {
			n.T.Fatalf("container is %s, want %s: %+v", s.State, want, s)
		}
	}
}

// Until waits for something to become true.
func Until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// Exec runs a command and returns what it printed; it must succeed.
func (n *Node) Exec(id string, cmd ...string) string {
	n.T.Helper()
	out, errs, err := n.Runtime.ExecSync(n.T.Context(), id, cmd, 30*time.Second)
	if err != nil {
		n.T.Fatalf("exec %q: %v (%s)", cmd, err, errs)
	}
	return strings.TrimSpace(string(out))
}

// Output runs a script to its end in a pod of its own and returns what it logged.
func (n *Node) Output(name, script string, change func(*cri.PodSandboxConfig, *cri.ContainerConfig)) (string, *cri.ContainerStatus) {
	n.T.Helper()
	podCfg, cfg := n.PodConfig(name), Container(name, script)
	if change != nil {
		change(podCfg, cfg)
	}
	pod := n.RunPod(podCfg)
	id := n.Run(pod, podCfg, cfg)
	status := n.WaitState(id, cri.ContainerState_CONTAINER_EXITED)
	return n.Log(status), status
}

// Log returns the text of a container's log, without what the format adds.
func (n *Node) Log(s *cri.ContainerStatus) string {
	n.T.Helper()
	raw, err := os.ReadFile(s.LogPath)
	must(n.T, err)
	var text strings.Builder
	for line := range strings.Lines(string(raw)) {
		fields := strings.SplitN(line, " ", 4)
		if len(fields) != 4 {
			n.T.Fatalf("not a line of the CRI log: %q", line)
		}
		if fields[2] == "P" {
			text.WriteString(strings.TrimSuffix(fields[3], "\n"))
		} else {
			text.WriteString(fields[3])
		}
	}
	return text.String()
}

// WaitLog waits until a container has logged a text.
func (n *Node) WaitLog(id, text string) {
	n.T.Helper()
	path := n.Status(id).LogPath
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		b, _ := os.ReadFile(path)
		if strings.Contains(string(b), text) {
			return
		}
		if time.Now().After(end) {
			n.T.Fatalf("no %q in the log after 30 s:\n%s", text, b)
		}
	}
}

// PodIP is the address of a pod.
func (n *Node) PodIP(pod string) string {
	r, err := n.Runtime.PodSandboxStatus(n.T.Context(), pod, false)
	must(n.T, err)
	return r.Status.Network.Ip
}

// Get asks an HTTP server, a few times while it starts.
func (n *Node) Get(addr string) string {
	var last string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			last = err.Error()
			time.Sleep(50 * time.Millisecond)
			continue
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = fmt.Fprintf(c, "GET / HTTP/1.0\r\n\r\n")
		b := make([]byte, 4096)
		k, err := c.Read(b)
		c.Close()
		if k > 0 {
			return string(b[:k])
		}
		last = fmt.Sprint(err)
	}
	return last
}
