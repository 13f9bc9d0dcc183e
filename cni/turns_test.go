package cni_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"slipway/cni"
)

const turnsConf = `{"cniVersion":"1.0.0","name":"turns","plugins":[
  {"type":"bridge","bridge":"br9","isGateway":true,"ipMasq":true,"ipMasqBackend":"nftables","ipam":{"type":"host-local","dataDir":"/run/cni/addresses",
    "ranges":[[{"subnet":"10.88.7.0/24","rangeEnd":"10.88.7.%d"}],[{"subnet":"fd88:7::/64"}]],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}},
  {"type":"portmap","backend":"nftables","capabilities":{"portMappings":true}}]}`

// ownHost runs the rest of a test on a host of its own; true means: inside.
func ownHost(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideVar) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	must(t, onOwnHost(t, t.Name(), insideVar+"="+builtPlugins(t)))
	return false
}

func (h *host) write(format string, args ...any) {
	h.t.Helper()
	must(h.t, os.WriteFile(h.conf+"/10.conflist", fmt.Appendf(nil, format, args...), 0o644))
}

func (h *host) taken() []string {
	files, _ := filepath.Glob(h.addresses + "/*/[0-9f]*")
	for i, f := range files {
		files[i] = filepath.Base(f)
	}
	return files
}

// The plugins and the native network share a node: the pool, its lock, the
// bridge and the tables. What one has attached, the other can detach.
func TestTakingTurns(t *testing.T) {
	if !ownHost(t) {
		return
	}
	h := newHost(t)
	h.write(turnsConf, 200)
	plugins, native := h.network(os.Getenv(insideVar), false), h.network(os.Getenv(insideVar), true)
	var all []*cni.Attachment
	for i, n := range []*cni.Network{plugins, native, plugins, native} {
		p := h.pod(fmt.Sprint("pod", i), []cni.PortMapping{{HostPort: int32(8080 + i), ContainerPort: 80, Protocol: "tcp"}})
		a, err := h.attach(n, p)
		must(t, err)
		all = append(all, a)
	}
	for i, a := range all {
		if got, want := fmt.Sprint(a.Addresses), fmt.Sprintf("[10.88.7.%d fd88:7::%d]", i+2, i+2); got != want {
			t.Errorf("pod %d has %s, want %s", i, got, want)
		}
		name := fmt.Sprint("pod", i)
		if got := ask("tcp", fmt.Sprint("127.0.0.1:", 8080+i)); got != name+" to 10.88.7.1" {
			t.Errorf("host port of %s answers %q", name, got)
		}
		if got := h.pods[fmt.Sprint("pod", (i+1)%4)].ask("tcp", a.Addresses[0].String()+":80"); !strings.HasPrefix(got, name+" to") {
			t.Errorf("%s answers %q to its neighbour", name, got)
		}
	}
	// Each DEL by the other one.
	for i, a := range all {
		a.Who = map[string]string{"exec": "native", "native": "exec"}[a.Who]
		must(t, plugins.Detach(t.Context(), h.pods[fmt.Sprint("pod", i)].Pod, again(t, a)))
	}
	if left := h.taken(); len(left) > 0 {
		t.Errorf("addresses still taken: %v", left)
	}
	s := &sight{host: h}
	s.noDevices()
	s.leftovers()
}

// With addresses for four pods only, ten that come at once get four, whoever
// attaches them, and no two the same.
func TestOnePoolForAll(t *testing.T) {
	if !ownHost(t) {
		return
	}
	h := newHost(t)
	h.write(turnsConf, 5)
	networks := []*cni.Network{h.network(os.Getenv(insideVar), false), h.network(os.Getenv(insideVar), true)}
	var mu sync.Mutex
	var got []string
	var failed []error
	var all sync.WaitGroup
	for i := range 10 {
		p := h.pod(fmt.Sprint("pod", i), nil)
		all.Go(func() {
			a, err := h.attach(networks[i%2], p)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, err)
				return
			}
			got = append(got, a.Addresses[0].String())
		})
	}
	all.Wait()
	slices.Sort(got)
	if fmt.Sprint(got) != "[10.88.7.2 10.88.7.3 10.88.7.4 10.88.7.5]" {
		t.Errorf("addresses %v, errors %v", got, failed)
	}
	if len(h.taken()) != 8 { // and one of IPv6 each
		t.Errorf("taken: %v", h.taken())
	}
}

// A host port on 127.0.0.1 needs a switch that would let pods reach what the
// host has there (CVE-2020-8558): with the native network they do not.
func TestPodDoesNotReachLoopback(t *testing.T) {
	if !ownHost(t) {
		return
	}
	h := newHost(t)
	h.write(turnsConf, 200)
	secret, err := net.Listen("tcp", "127.0.0.1:9999")
	must(t, err)
	defer secret.Close()
	go serve(secret, "secret")
	try := func(name string, n *cni.Network) string {
		p := h.pod(name, []cni.PortMapping{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}})
		a, err := h.attach(n, p)
		must(t, err)
		defer func() { must(t, n.Detach(t.Context(), p.Pod, a)) }()
		if got := ask("tcp", "127.0.0.1:8080"); got != name+" to 10.88.7.1" {
			t.Errorf("127.0.0.1:8080 answers %q", got)
		}
		p.do(func() { // what a pod with CAP_NET_ADMIN would do
			err = os.WriteFile("/proc/sys/net/ipv4/conf/eth0/route_localnet", []byte("1"), 0)
		})
		must(t, err)
		must(t, os.MkdirAll("/run/netns", 0o755))
		must(t, os.WriteFile("/run/netns/"+name, nil, 0o600))
		must(t, unix.Mount(p.NetNS, "/run/netns/"+name, "", unix.MS_BIND, ""))
		ip(t, "-n", name, "route", "add", "table", "100", "default", "via", "10.88.7.1")
		ip(t, "-n", name, "rule", "add", "pref", "0", "to", "127.0.0.1", "lookup", "100")
		return p.ask("tcp", "127.0.0.1:9999")
	}
	if got := try("pod1", h.network(os.Getenv(insideVar), false)); got != "secret" {
		t.Errorf("the attack does not work with the reference plugin (%q): this test shows nothing", got)
	}
	if got := try("pod2", h.network(os.Getenv(insideVar), true)); got != "nobody" {
		t.Errorf("a pod reaches the host's loopback: %q", got)
	}
}

// Many pods at once, several times over: no descriptor stays open, no thread
// stays in a pod's namespace, no address, rule or device is left.
func TestNothingLeaks(t *testing.T) {
	if !ownHost(t) {
		return
	}
	h := newHost(t)
	h.write(turnsConf, 200)
	n := h.network(os.Getenv(insideVar), true)
	var before int
	for round := range 4 {
		var all sync.WaitGroup
		errs := make(chan error, 10)
		for i := range 10 {
			p := h.pod(fmt.Sprintf("pod%d-%d", round, i), []cni.PortMapping{{HostPort: int32(8080 + i), ContainerPort: 80, Protocol: "udp"}})
			all.Go(func() {
				a, err := h.attach(n, p)
				if err == nil {
					err = errors.Join(n.Detach(t.Context(), p.Pod, a), n.Detach(t.Context(), p.Pod, a))
				}
				errs <- err
			})
		}
		all.Wait()
		for range 10 {
			must(t, <-errs)
		}
		for i := range 10 {
			h.pods[fmt.Sprintf("pod%d-%d", round, i)].gone()
		}
		if now := openFiles(t); round == 0 {
			before = now
		} else if now > before+10 { // some sockets to nf_tables stay open for the next
			t.Errorf("%d open files after round %d, %d before", now, round, before)
		}
	}
	threads, err := filepath.Glob("/proc/self/task/*/ns/net")
	must(t, err)
	home, err := os.Readlink("/proc/self/ns/net")
	must(t, err)
	for _, path := range threads {
		if at, err := os.Readlink(path); err == nil && at != home {
			t.Errorf("thread %s is in %s", path, at)
		}
	}
	if left := h.taken(); len(left) > 0 {
		t.Errorf("addresses still taken: %v", left)
	}
	s := &sight{host: h}
	s.noDevices()
	s.leftovers()
}

func openFiles(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(fds)
}

// A namespace that somebody keeps does not keep the pod on the bridge: shut at
// once, and its device goes after a while.
func TestKeptNamespaceIsCutOff(t *testing.T) {
	if !ownHost(t) {
		return
	}
	h := newHost(t)
	h.write(turnsConf, 200)
	n := h.network(os.Getenv(insideVar), true)
	p := h.pod("pod1", nil)
	a, err := h.attach(n, p)
	must(t, err)
	at := a.Addresses[0].String() + ":80"
	if got := ask("tcp", at); got != "pod1 to 10.88.7.1" {
		t.Errorf("before DEL: %q", got)
	}
	must(t, n.Detach(t.Context(), p.Pod, a))
	if got := ask("tcp", at); got != "nobody" {
		t.Errorf("after DEL: %q", got)
	}
	s := &sight{host: h}
	s.noDevices()
}

// A daemon that died between ADD and the record leaves an attempt without a
// result; DEL finds everything all the same, and touches no other pod.
func TestDetachWithoutResult(t *testing.T) {
	if !ownHost(t) {
		return
	}
	h := newHost(t)
	h.write(turnsConf, 200)
	n := h.network(os.Getenv(insideVar), true)
	ports := []cni.PortMapping{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}}
	p, other := h.pod("pod1", ports), h.pod("pod10", []cni.PortMapping{{HostPort: 8081, ContainerPort: 80, Protocol: "tcp"}})
	attempt, err := n.Attempt(p.Pod)
	must(t, err)
	_, err = n.Attach(t.Context(), p.Pod, attempt)
	must(t, err)
	kept, err := h.attach(n, other)
	must(t, err)
	if err := errors.Join(n.Detach(t.Context(), p.Pod, again(t, attempt))); err != nil {
		t.Fatal(err)
	}
	if left := fmt.Sprint(h.taken()); left != "[10.88.7.3 fd88:7::3]" {
		t.Errorf("taken: %s", left)
	}
	if got := ask("tcp", kept.Addresses[0].String()+":80"); got != "pod10 to 10.88.7.1" {
		t.Errorf("the other pod answers %q", got)
	}
	if got := ask("tcp", "127.0.0.1:8080"); got != "nobody" {
		t.Errorf("the host port answers %q", got)
	}
	if got := ask("tcp", "127.0.0.1:8081"); got != "pod10 to 10.88.7.1" {
		t.Errorf("the other pod's host port answers %q", got)
	}
}

// Lists that are not taken are run as plugins, and the reason is told.
func TestWhatIsNotNative(t *testing.T) {
	for what, plugins := range map[string]string{
		`plugin "fake-a"`:             `{"type":"fake-a"}`,
		`key "isgateway"`:             `{"type":"bridge","isgateway":true,"ipam":{"type":"host-local"}}`,
		`vlan`:                        `{"type":"bridge","vlan":5,"ipam":{"type":"host-local"}}`,
		`macspoofchk`:                 `{"type":"bridge","macspoofchk":true,"ipam":{"type":"host-local"}}`,
		`ipam "dhcp"`:                 `{"type":"bridge","ipam":{"type":"dhcp"}}`,
		`ipam ""`:                     `{"type":"bridge"}`,
		`key "args"`:                  `{"type":"bridge","args":{"cni":{"ips":["1.2.3.4"]}},"ipam":{"type":"host-local"}}`,
		`key "ranges6"`:               `{"type":"bridge","ipam":{"type":"host-local","ranges6":[]}}`,
		`ipMasqBackend`:               `{"type":"bridge","ipMasqBackend":"iptables","ipam":{"type":"host-local","subnet":"10.0.0.0/24"}}`,
		`backend other than nftables`: `{"type":"portmap","backend":"iptables"}`,
		`conditions`:                  `{"type":"portmap","conditionsV4":["-s","10.0.0.0/8"]}`,
		`key "externalSetMarkChain"`:  `{"type":"portmap","externalSetMarkChain":"KUBE-MARK-MASQ"}`,
		`key "deviceID"`:              `{"type":"loopback","deviceID":"x"}`,
	} {
		b := newBench(t)
		b.write("10.conflist", fmt.Sprintf(`{"cniVersion":"1.0.0","name":"n","plugins":[%s]}`, plugins))
		n, err := cni.New(cni.Options{ConfDir: b.conf, BinDirs: []string{b.bin}, CacheDir: b.cache, Native: true, Log: slog.New(slog.DiscardHandler)})
		must(t, err)
		t.Cleanup(func() { n.Close() })
		text, err := json.Marshal(n.Config())
		must(t, err)
		var r struct {
			Native    bool
			NotNative string
		}
		must(t, json.Unmarshal(text, &r))
		if r.Native || !strings.Contains(r.NotNative, what) {
			t.Errorf("%s: native %v because %q, want %q", plugins, r.Native, r.NotNative, what)
		}
	}
}
