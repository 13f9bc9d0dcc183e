package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway/test/machine"
	"slipway/test/node"
)

// patience bounds every wait: a kubelet backs off for tens of seconds.
const patience = 2 * time.Minute

// kubelet is one on a node of its own.
type kubelet struct {
	*node.Node
	dir string // all of its files
	cmd *exec.Cmd
}

// newKubelet starts a daemon and a kubelet. When the test ends, all pods must go
// and nothing may be left.
func newKubelet(t *testing.T) *kubelet {
	t.Helper()
	if lab == nil {
		t.Skip("SLIPWAY_KUBELET names no kubelet: make node KUBELET=/path/to/kubelet")
	}
	n := lab.New(t)
	k := &kubelet{Node: n, dir: filepath.Join(n.Setup.Dir, "kubelet")}
	for _, d := range []string{"manifests", "root", "share"} {
		k.must(os.MkdirAll(filepath.Join(k.dir, d), 0o777))
	}
	root := lab.Machine.Cgroup + "/kubelet"
	for _, dir := range machine.Hierarchies(root) {
		k.must(os.MkdirAll(dir, 0o755))
		k.must(fillCpuset(dir))
	}
	config := strings.NewReplacer("@DIR@", k.dir, "@SOCKET@", n.Setup.Socket, "@CGROUP@", root).Replace(k.read("testdata/config.yaml"))
	k.must(os.WriteFile(filepath.Join(k.dir, "config.yaml"), []byte(config), 0o644))
	t.Cleanup(func() { k.end(root) })
	k.start()
	return k
}

// fillCpuset gives a new cgroup of version 1 what its parent has, which the
// kernel leaves to whoever makes one.
func fillCpuset(dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		for _, d := range []string{filepath.Dir(dir), dir} {
			above, err := os.ReadFile(filepath.Join(filepath.Dir(d), file))
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if own, err := os.ReadFile(filepath.Join(d, file)); err != nil || strings.TrimSpace(string(own)) != "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(d, file), above, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// start runs the kubelet and waits until it is healthy.
func (k *kubelet) start() {
	k.T.Helper()
	log, err := os.OpenFile(filepath.Join(k.dir, "kubelet.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	k.must(err)
	defer log.Close()
	k.cmd = exec.Command(os.Getenv("SLIPWAY_KUBELET"),
		"--config", filepath.Join(k.dir, "config.yaml"), "--root-dir", filepath.Join(k.dir, "root"),
		"--cert-dir", filepath.Join(k.dir, "root", "pki"), "--hostname-override", "machine", "--node-ip", address, "--v", "3")
	k.cmd.Stdout, k.cmd.Stderr = log, log
	k.must(k.cmd.Start())
	k.until("the kubelet is healthy", func() bool {
		r, err := http.Get("http://127.0.0.1:10248/healthz")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

// kill ends the kubelet at once.
func (k *kubelet) kill() {
	k.T.Helper()
	k.must(k.cmd.Process.Signal(syscall.SIGKILL))
	_ = k.cmd.Wait()
}

// end has the kubelet end its pods, and takes away what it leaves by design:
// sandboxes until its garbage collection, the cgroups of its classes, and the
// mount that its directory is made.
func (k *kubelet) end(root string) {
	entries, _ := os.ReadDir(filepath.Join(k.dir, "manifests"))
	for _, e := range entries {
		k.remove(strings.TrimSuffix(e.Name(), ".yaml"))
	}
	gone := within(func() bool {
		pods, err := os.ReadDir(filepath.Join(k.dir, "root", "pods"))
		return len(pods) == 0 && (err == nil || errors.Is(err, fs.ErrNotExist))
	})
	if !gone {
		k.T.Error("the kubelet's pods do not go")
	}
	_ = k.cmd.Process.Signal(syscall.SIGTERM)
	_ = k.cmd.Wait()
	if k.T.Failed() {
		k.T.Logf("kubelet:\n%s", strings.Join(errorLines(k.read(filepath.Join(k.dir, "kubelet.log"))), "\n"))
	}
	k.RemoveAll()
	_ = syscall.Unmount(filepath.Join(k.dir, "root"), syscall.MNT_DETACH)
	for _, dir := range machine.Hierarchies(root) {
		var dirs []string
		_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return nil
		})
		for _, d := range slices.Backward(dirs) {
			if !within(func() bool { err := os.Remove(d); return err == nil || errors.Is(err, fs.ErrNotExist) }) {
				k.T.Errorf("cgroup %s cannot be removed", d)
			}
		}
	}
}

// pod has the kubelet run a pod of testdata. In it, @IMAGE@ is an image with a
// shell and @SHARE@ a directory of the node.
func (k *kubelet) pod(name string) {
	k.T.Helper()
	text := strings.NewReplacer("@IMAGE@", node.Busybox, "@SHARE@", k.share("")).Replace(k.read("testdata/" + name + ".yaml"))
	tmp := filepath.Join(k.dir, name+".yaml") // a half-written one would be read
	k.must(os.WriteFile(tmp, []byte(text), 0o644))
	k.must(os.Rename(tmp, filepath.Join(k.dir, "manifests", name+".yaml")))
}

// remove has the kubelet end a pod.
func (k *kubelet) remove(name string) {
	k.T.Helper()
	k.must(os.Remove(filepath.Join(k.dir, "manifests", name+".yaml")))
}

// share is a file of the directory that pods and the test share.
func (k *kubelet) share(name string) string { return filepath.Join(k.dir, "share", name) }

func (k *kubelet) read(file string) string {
	k.T.Helper()
	b, err := os.ReadFile(file)
	k.must(err)
	return string(b)
}

func (k *kubelet) must(err error) {
	k.T.Helper()
	if err != nil {
		k.T.Fatal(err)
	}
}

// until waits for a condition; it fails the test with what the kubelet says of
// its pods.
func (k *kubelet) until(what string, ok func() bool) {
	k.T.Helper()
	if !within(ok) {
		k.T.Fatalf("never: %s\n%s", what, k.describe())
	}
}

func within(ok func() bool) bool {
	for end := time.Now().Add(patience); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

func (k *kubelet) context() context.Context {
	ctx, cancel := context.WithTimeout(k.T.Context(), patience)
	k.T.Cleanup(cancel)
	return ctx
}

// describe is what the kubelet says of its pods.
func (k *kubelet) describe() string {
	pods, err := k.list()
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, p := range pods {
		fmt.Fprintf(&b, "%s: %s, ready %v\n", p.Metadata.Name, p.Status.Phase, p.ready())
		for _, c := range slices.Concat(p.Status.Init, p.Status.Containers) {
			fmt.Fprintf(&b, "  %s: ready %v, restarts %d, %s, before %s\n", c.Name, c.Ready, c.RestartCount, c.State, c.LastState)
		}
	}
	return b.String()
}

// errorLines are the last lines of a kubelet's log that tell of errors.
func errorLines(log string) []string {
	var lines []string
	for line := range strings.Lines(log) {
		if strings.HasPrefix(line, "E") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines[max(0, len(lines)-20):]
}
