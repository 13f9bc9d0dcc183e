package cni_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway/cni"
)

const insideVar = "SLIPWAY_CNI_TEST_PLUGINS" // set to the plugins' directory inside the namespaces

// The reference plugins, on a host that is a network and mount namespace of
// its own: the test runs itself again in there.
func TestReferencePlugins(t *testing.T) {
	if bin := os.Getenv(insideVar); bin != "" {
		referencePlugins(t, bin)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	inside := exec.CommandContext(t.Context(), self, "-test.run=^TestReferencePlugins$", "-test.v", "-test.timeout=2m")
	inside.Env = append(os.Environ(), insideVar+"="+builtPlugins(t))
	inside.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
	runtime.LockOSThread() // the death signal follows the thread
	defer runtime.UnlockOSThread()
	if out, err := inside.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestReferencePlugins") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// builtPlugins returns a directory with the plugins: the one "make cni" fills,
// or one filled here.
func builtPlugins(t testing.TB) string {
	t.Helper()
	made, err := filepath.Abs("../bin/cni")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(made + "/.built"); err == nil {
		return made
	}
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "install", "tool")
	build.Dir = "../hack/tools/cni"
	build.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the plugins: %v\n%s", err, out)
	}
	return dir
}

func referencePlugins(t *testing.T, bin string) {
	const dir = "/run/cni" // all that is made ends with the mount namespace
	must(t, syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	must(t, syscall.Mount("tmpfs", "/run", "tmpfs", 0, "")) // xtables.lock is not the host's either
	must(t, os.Mkdir(dir, 0o755))
	must(t, exec.Command("ip", "link", "set", "lo", "up").Run())
	conf, addresses := dir+"/net.d", dir+"/addresses"
	must(t, os.Mkdir(conf, 0o755))
	must(t, os.WriteFile(conf+"/10-real.conflist", fmt.Appendf(nil, `{"cniVersion":"1.0.0","name":"real","plugins":[
	  {"type":"bridge","bridge":"cni0","isGateway":true,"ipam":{"type":"host-local","dataDir":%q,
	    "ranges":[[{"subnet":"10.88.7.0/24"}],[{"subnet":"fd88:7::/64"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
	  {"type":"portmap","capabilities":{"portMappings":true}}]}`, addresses), 0o644))
	n, err := cni.New(cni.Options{ConfDir: conf, BinDirs: []string{bin}, CacheDir: dir + "/cache"})
	must(t, err)
	defer n.Close()
	must(t, n.Status(t.Context()))

	full := realAttach(t, n, dir, "pod1", 8081)
	if got := fmt.Sprint(full.IPs()); got != "[10.88.7.2 fd88:7::2]" {
		t.Errorf("addresses %s", got)
	}
	if !strings.Contains(string(full.Result), `"gateway":"10.88.7.1"`) {
		t.Errorf("no gateway in %s", full.Result)
	}
	for _, at := range []string{"10.88.7.2:80", "10.88.7.1:8081", "127.0.0.1:8081"} {
		if got := realAsk(t, at); got != "pod1" {
			t.Errorf("%s answers %q, want %q", at, got, "pod1")
		}
	}
	realDetach(t, n, "pod1", full)

	// A namespace that is gone gives its address and ports back all the same.
	full = realAttach(t, n, dir, "pod2", 8082)
	must(t, syscall.Unmount(full.NetNS, syscall.MNT_DETACH))
	must(t, os.Remove(full.NetNS))
	realDetach(t, n, "pod2", full)
	if left, _ := filepath.Glob(addresses + "/real/[0-9f]*"); len(left) > 0 {
		t.Errorf("addresses still taken: %v", left)
	}
}

func realPod(dir, id string) cni.Pod {
	p := pod(id)
	p.NetNS = filepath.Join(dir, id)
	return p
}

func realAttach(t *testing.T, n *cni.Network, dir, id string, hostPort int32) *cni.Attachment {
	t.Helper()
	p := realPod(dir, id)
	p.Ports = []cni.PortMapping{{HostPort: hostPort, ContainerPort: 80, Protocol: "tcp"}}
	answers := newNamespace(t, p.NetNS)
	t.Cleanup(func() { answers.Close() })
	go serve(answers, id)
	attempt, err := n.Attempt(p)
	must(t, err)
	full, err := n.Attach(t.Context(), p, attempt)
	must(t, err)
	taken(t, full, true)
	return full
}

func realDetach(t *testing.T, n *cni.Network, id string, full *cni.Attachment) {
	t.Helper()
	for range 2 {
		must(t, n.Detach(t.Context(), pod(id), again(t, full)))
	}
	taken(t, full, false)
	rules, err := exec.Command("iptables-save", "-t", "nat").CombinedOutput()
	if err != nil || strings.Contains(string(rules), "to-destination") {
		t.Errorf("rules left: %v\n%s", err, rules)
	}
}

// taken checks whether host-local holds the attachment's addresses.
func taken(t *testing.T, full *cni.Attachment, want bool) {
	t.Helper()
	for _, ip := range full.IPs() {
		var files []string
		_ = filepath.WalkDir(filepath.Dir(full.NetNS)+"/addresses", func(path string, _ os.DirEntry, _ error) error {
			if a, err := netip.ParseAddr(filepath.Base(path)); err == nil && a == ip {
				files = append(files, path)
			}
			return nil
		})
		if (len(files) > 0) != want {
			t.Errorf("address %s is taken: %v, want %v", ip, files, want)
		}
	}
}

// newNamespace pins a new network namespace at path and listens in it.
func newNamespace(t *testing.T, path string) net.Listener {
	t.Helper()
	must(t, os.WriteFile(path, nil, 0o600))
	var l net.Listener
	done := make(chan error)
	go func() { // never unlocked: the thread ends with the goroutine
		runtime.LockOSThread()
		err := syscall.Unshare(syscall.CLONE_NEWNET)
		if err == nil {
			err = syscall.Mount("/proc/thread-self/ns/net", path, "", syscall.MS_BIND, "")
		}
		if err == nil {
			l, err = net.Listen("tcp4", ":80")
		}
		done <- err
	}()
	must(t, <-done)
	return l
}

func serve(l net.Listener, text string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, text)
		_ = c.Close()
	}
}

func realAsk(t *testing.T, at string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", at, 30*time.Second)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	err = c.SetDeadline(time.Now().Add(30 * time.Second))
	text, read := io.ReadAll(io.LimitReader(c, 100))
	must(t, errors.Join(err, read))
	return string(text)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
