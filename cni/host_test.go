package cni_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway/cni"
)

// host is a machine to attach pods to: the namespaces of this process, and a
// second machine at 203.0.113.2 and fd99::2 that says who talks to it.
type host struct {
	t                    testing.TB
	dir, conf, addresses string
	pods                 map[string]*podNS
	home                 *os.File
	world                *podNS
}

func newHost(t testing.TB) *host {
	t.Helper()
	must(t, syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	must(t, syscall.Mount("tmpfs", "/run", "tmpfs", 0, "")) // xtables.lock is not the host's either
	h := &host{t: t, dir: "/run/cni", conf: "/run/cni/net.d", addresses: "/run/cni/addresses", pods: map[string]*podNS{}}
	must(t, os.MkdirAll(h.conf, 0o755))
	var err error
	h.home, err = os.Open("/proc/thread-self/ns/net")
	must(t, err)
	ip(t, "link", "set", "lo", "up")
	h.world = h.pod("world", nil)
	ip(t, "link", "add", "out0", "type", "veth", "peer", "name", "eth0", "netns", h.world.NetNS)
	ip(t, "addr", "add", "203.0.113.1/24", "dev", "out0")
	ip(t, "addr", "add", "fd99::1/64", "dev", "out0", "nodad")
	ip(t, "link", "set", "out0", "up")
	inWorld := func(args ...string) { ip(t, append([]string{"netns", "exec", "world", "ip"}, args...)...) }
	must(t, os.MkdirAll("/run/netns", 0o755))
	must(t, os.WriteFile("/run/netns/world", nil, 0o600))
	must(t, syscall.Mount(h.world.NetNS, "/run/netns/world", "", syscall.MS_BIND, ""))
	inWorld("addr", "add", "203.0.113.2/24", "dev", "eth0")
	inWorld("addr", "add", "fd99::2/64", "dev", "eth0", "nodad")
	inWorld("link", "set", "eth0", "up")
	return h
}

func (h *host) network(bin string, native bool) *cni.Network {
	h.t.Helper()
	n, err := cni.New(cni.Options{ConfDir: h.conf, BinDirs: []string{bin}, CacheDir: h.dir + "/cache", Native: native})
	must(h.t, err)
	h.t.Cleanup(func() { n.Close() })
	return n
}

func ip(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// podNS is a pod: its namespace and, in there, servers that answer with the
// pod's name and the address of who asks.
type podNS struct {
	cni.Pod
	h      *host
	ns     *os.File
	closes []io.Closer
}

func (h *host) pod(id string, ports []cni.PortMapping) *podNS {
	h.t.Helper()
	p := &podNS{Pod: pod(id), h: h}
	p.NetNS, p.Ports = filepath.Join(h.dir, id), ports
	must(h.t, os.WriteFile(p.NetNS, nil, 0o600))
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := syscall.Unshare(syscall.CLONE_NEWNET)
		if err == nil {
			err = syscall.Mount("/proc/thread-self/ns/net", p.NetNS, "", syscall.MS_BIND, "")
		}
		if err == nil {
			err = p.serve(id)
		}
		h.goHome()
		done <- err
	}()
	must(h.t, <-done)
	ns, err := os.Open(p.NetNS)
	must(h.t, err)
	p.ns = ns
	h.pods[id] = p
	h.t.Cleanup(func() { p.close() })
	return p
}

// goHome takes a thread back. Left to end with its goroutine it would stay in
// the pod's namespace when it is the process's first one.
func (h *host) goHome() {
	if err := unix.Setns(int(h.home.Fd()), unix.CLONE_NEWNET); err == nil {
		runtime.UnlockOSThread()
	}
}

func (p *podNS) serve(name string) error {
	l, err := net.Listen("tcp", ":80")
	if err != nil {
		return err
	}
	u, err := net.ListenPacket("udp", ":53")
	if err != nil {
		return err
	}
	p.closes = append(p.closes, l, u)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			from, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			_, _ = io.WriteString(c, name+" to "+from)
			_ = c.Close()
		}
	}()
	go func() {
		b := make([]byte, 10)
		for {
			_, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(from.String())
			_, _ = u.WriteTo([]byte(name+" to "+host), from)
		}
	}()
	return nil
}

func (p *podNS) close() {
	for _, c := range p.closes {
		_ = c.Close()
	}
	if p.ns != nil {
		_ = p.ns.Close()
	}
	p.closes, p.ns = nil, nil
}

// gone ends the pod's namespace.
func (p *podNS) gone() {
	p.close()
	must(p.h.t, syscall.Unmount(p.NetNS, syscall.MNT_DETACH))
	must(p.h.t, os.Remove(p.NetNS))
}

// do runs on a thread in the pod's namespace.
func (p *podNS) do(f func()) {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := unix.Setns(int(p.ns.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			f()
		}
		p.h.goHome()
		done <- err
	}()
	must(p.h.t, <-done)
}

func (p *podNS) ask(network, at string) (text string) {
	p.do(func() { text = ask(network, at) })
	return text
}

// ask returns the answer, or "nobody" after a while: tries enough for a busy
// machine where somebody answers, and not many where nobody should.
func ask(network, at string) string {
	var last string
	for range 2 {
		c, err := net.DialTimeout(network, at, 3*time.Second)
		if err != nil {
			last = "nobody"
			continue
		}
		_ = c.SetDeadline(time.Now().Add(30 * time.Second)) // somebody is there
		if network == "udp" {
			_ = c.SetDeadline(time.Now().Add(3 * time.Second))
			_, _ = io.WriteString(c, "?")
		}
		b := make([]byte, 200)
		n, _ := c.Read(b)
		_ = c.Close()
		if n > 0 {
			return string(b[:n])
		}
		last = "nobody"
	}
	return last
}

func (h *host) attach(n *cni.Network, p *podNS) (*cni.Attachment, error) {
	attempt, err := n.Attempt(p.Pod)
	if err != nil {
		return nil, err
	}
	return n.Attach(h.t.Context(), p.Pod, again(h.t, attempt))
}

// links are the devices of the host and of the first pod with addresses and
// routes, without what differs from run to run.
func (s *sight) links() {
	in := []string{"netns", "exec", "pod1", "ip"}
	must(s.t, os.WriteFile("/run/netns/pod1", nil, 0o600))
	must(s.t, syscall.Mount(s.dir+"/pod1", "/run/netns/pod1", "", syscall.MS_BIND, ""))
	eventually(s.t, "the pod's interface is up", func() bool {
		return strings.Contains(ip(s.t, append(in, "link", "show", "eth0")...), "state UP")
	})
	defer func() {
		must(s.t, syscall.Unmount("/run/netns/pod1", syscall.MNT_DETACH))
		must(s.t, os.Remove("/run/netns/pod1"))
	}()
	for _, where := range [][]string{nil, in} {
		for _, what := range []string{"addr", "route", "-6 route", "-d link"} {
			args := slices.Concat(where, []string{"-j"}, strings.Fields(what))
			if what == "-d link" {
				args = append(args, "show")
			}
			s.objects(strings.Join(where, " ")+" "+what, ip(s.t, args...))
		}
	}
}

// objects adds each object of ip's JSON with the keys that mean something.
func (s *sight) objects(what, text string) {
	var list []map[string]any
	must(s.t, json.Unmarshal([]byte(text), &list))
	keep := []string{
		"mtu", "flags", "operstate", "addr_info", "dst", "gateway", "dev", "metric", "scope", "prefsrc", "protocol",
		"promiscuity", "linkinfo", "master",
	}
	var lines []string
	for _, o := range list {
		name, _ := o["ifname"].(string)
		if name == "out0" || o["dev"] == "out0" || fmt.Sprint(o["dst"]) == "ff00::/8" {
			continue
		}
		kept := map[string]any{"ifname": name}
		for _, k := range keep {
			if v, ok := o[k]; ok {
				kept[k] = meaning(k, v)
			}
		}
		b, err := json.Marshal(kept)
		must(s.t, err)
		lines = append(lines, plain(string(b)))
	}
	slices.Sort(lines)
	for _, l := range lines {
		s.add(what, l)
	}
}

// meaning picks what matters of a nested value.
func meaning(key string, v any) any {
	pick := func(o map[string]any, keys ...string) map[string]any {
		out := map[string]any{}
		for _, k := range keys {
			if x, ok := o[k]; ok {
				out[k] = x
			}
		}
		return out
	}
	switch key {
	case "addr_info":
		var out []any
		for _, a := range v.([]any) {
			o := a.(map[string]any)
			if o["scope"] == "link" { // may come a moment later
				continue
			}
			out = append(out, pick(o, "local", "prefixlen", "broadcast", "scope", "label"))
		}
		return out
	case "linkinfo":
		o := v.(map[string]any)
		out := pick(o, "info_kind", "info_slave_kind")
		if d, ok := o["info_slave_data"].(map[string]any); ok {
			out["port"] = pick(d, "state", "hairpin", "isolated", "learning", "flood")
		}
		return out
	}
	return v
}

func (s *sight) switches(a *cni.Attachment) {
	read := func(path string) string {
		b, err := os.ReadFile("/proc/sys/net/" + path)
		if err != nil {
			return "unreadable"
		}
		return strings.TrimSpace(string(b))
	}
	veth := vethForm.FindString(string(a.Result))
	for _, path := range []string{
		"ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/br9/route_localnet", "ipv4/conf/all/route_localnet",
		"ipv6/conf/br9/accept_ra", "ipv6/conf/" + veth + "/accept_ra",
	} {
		s.add("switch "+plain(path), read(path))
	}
	p := &podNS{h: s.host}
	p.ns, _ = os.Open(a.NetNS)
	defer p.ns.Close()
	p.do(func() {
		for _, k := range []string{"ipv4/conf/eth0/arp_notify", "ipv6/conf/eth0/accept_dad", "ipv6/conf/eth0/keep_addr_on_down", "ipv6/conf/lo/disable_ipv6"} {
			s.add("pod's switch "+k, read(k))
		}
	})
}
