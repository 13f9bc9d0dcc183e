package cni_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"slipway/cni"
)

// likeness is one configuration that the reference plugins and the native
// network must make the same of. Sysctls are set on the host before anything.
type likeness struct {
	name    string
	version string // of the configuration; empty: 1.0.0
	bridge  string // keys of the bridge plugin
	ipam    string // keys of host-local
	before  string // other plugins, with a comma after each
	after   string // other plugins, with a comma before each
	ports   []cni.PortMapping
	host    func(t *testing.T) // what the host has before
	rules   bool               // the nf_tables rules must be the same too
}

const (
	dualRanges = `"ranges":[[{"subnet":"10.88.7.0/24"}],[{"subnet":"fd88:7::/64"}]],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]`
	fourRange  = `"ranges":[[{"subnet":"10.88.7.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]`
	anyPortmap = `,{"type":"portmap","capabilities":{"portMappings":true}}`
	nftPortmap = `,{"type":"portmap","backend":"nftables","capabilities":{"portMappings":true}}`
)

var webPorts = []cni.PortMapping{{HostPort: 8081, ContainerPort: 80, Protocol: "tcp"}, {HostPort: 8053, ContainerPort: 53, Protocol: "udp"}}

var likenesses = []likeness{
	{name: "plain", bridge: `"isGateway":true`, ipam: `"ranges":[[{"subnet":"10.88.7.0/24"}]]`},
	{name: "old form", version: "0.4.0", bridge: `"isGateway":true,"mtu":1400`, ipam: `"subnet":"10.88.7.0/24","rangeStart":"10.88.7.20","rangeEnd":"10.88.7.30","gateway":"10.88.7.9"`},
	{name: "no gateway", bridge: `"isGateway":false`, ipam: `"ranges":[[{"subnet":"10.88.7.0/24"}]],"routes":[{"dst":"10.99.0.0/16","gw":"10.88.7.200","priority":7}]`},
	{name: "default gateway and hairpin", bridge: `"isDefaultGateway":true,"hairpinMode":true,"ipMasq":true`, ipam: dualRanges, after: anyPortmap, ports: webPorts},
	{name: "containerd's", bridge: `"isGateway":true,"ipMasq":true,"promiscMode":true`, ipam: dualRanges, after: anyPortmap, ports: webPorts},
	{name: "crio's", version: "1.1.0", bridge: `"isGateway":true,"ipMasq":true,"hairpinMode":true`, ipam: fourRange},
	{
		name: "rules", bridge: `"isGateway":true,"ipMasq":true,"ipMasqBackend":"nftables","hairpinMode":true`, rules: true,
		ipam: `"ranges":[[{"subnet":"10.88.0.0/18"}],[{"subnet":"fd88:7::/62"}]],"routes":[{"dst":"0.0.0.0/0"}]`, after: nftPortmap,
		ports: append(slices.Clone(webPorts),
			cni.PortMapping{HostPort: 8090, ContainerPort: 90, Protocol: "sctp"},
			cni.PortMapping{HostPort: 8091, ContainerPort: 80, Protocol: "tcp", HostIP: "203.0.113.1"},
			cni.PortMapping{HostPort: 8092, ContainerPort: 80, Protocol: "tcp", HostIP: "0.0.0.0"},
			cni.PortMapping{HostPort: 8093, ContainerPort: 80, Protocol: "tcp", HostIP: "fd99::1"}),
	},
	{
		name: "rules without snat", bridge: `"isGateway":true,"ipMasq":true,"ipMasqBackend":"nftables"`, rules: true, ipam: fourRange,
		after: `,{"type":"portmap","backend":"nftables","snat":false,"markMasqBit":5,"capabilities":{"portMappings":true}}`, ports: webPorts,
	},
	{
		name: "all masqueraded, own mark", bridge: `"isGateway":true,"ipMasq":true`, ipam: dualRanges,
		after: `,{"type":"portmap","masqAll":true,"markMasqBit":5,"capabilities":{"portMappings":true}}`, ports: webPorts,
	},
	{name: "ports not asked for", bridge: `"isGateway":true`, ipam: fourRange, after: `,{"type":"portmap"}`, ports: webPorts},
	{name: "IPv6 alone", bridge: `"isGateway":true,"ipMasq":true`, ipam: `"ranges":[[{"subnet":"fd88:7::/64"}]],"routes":[{"dst":"::/0"}]`, after: anyPortmap, ports: webPorts},
	{name: "isolated, with DAD", bridge: `"isGateway":true,"portIsolation":true,"enabledad":true`, ipam: dualRanges},
	{name: "loopback and names", before: `{"type":"loopback"},`, bridge: `"isGateway":true,"dns":{"nameservers":["10.1.1.1"],"search":["a.b"]}`, ipam: fourRange + `,"resolvConf":"/nowhere"`, host: func(t *testing.T) {
		must(t, os.WriteFile("/run/cni/resolv.conf", []byte("nameserver 9.9.9.9\nsearch x y\noptions ndots:5 # no\n"), 0o644))
	}},
	{name: "names of the host", bridge: `"isGateway":true`, ipam: fourRange + `,"resolvConf":"/run/cni/resolv.conf"`, host: func(t *testing.T) {
		must(t, os.WriteFile("/run/cni/resolv.conf", []byte("; c\n nameserver 9.9.9.9\ndomain d\nsearch x y\noptions ndots:5\n"), 0o644))
	}},
	{name: "foreign address, by force", bridge: `"isGateway":true,"forceAddress":true`, ipam: fourRange, host: foreignAddress},
	// What cannot work fails with both, and leaves the same behind.
	{name: "foreign address", bridge: `"isGateway":true`, ipam: fourRange, host: foreignAddress},
	{name: "not a bridge", bridge: `"isGateway":true`, ipam: fourRange, host: func(t *testing.T) { ip(t, "link", "add", "br9", "type", "veth", "peer", "name", "br9peer") }},
	{name: "overlapping sets", bridge: `"isGateway":true`, ipam: `"ranges":[[{"subnet":"10.88.0.0/16"}],[{"subnet":"10.88.7.0/24"}]]`},
	{name: "mixed set", bridge: `"isGateway":true`, ipam: `"ranges":[[{"subnet":"10.88.0.0/16"},{"subnet":"fd88::/64"}]]`},
	{name: "no room", bridge: `"isGateway":true`, ipam: `"ranges":[[{"subnet":"10.88.7.0/31"}]]`},
	{name: "used-up pool", bridge: `"isGateway":true`, ipam: `"ranges":[[{"subnet":"10.88.7.0/24","rangeStart":"10.88.7.1","rangeEnd":"10.88.7.2"}]]`},
	{name: "hairpin and promiscuous", bridge: `"isGateway":true,"hairpinMode":true,"promiscMode":true`, ipam: fourRange},
	{name: "IPv6 switched off", bridge: `"isGateway":true`, ipam: dualRanges, host: func(t *testing.T) {
		must(t, os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0))
		must(t, os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0))
	}},
}

func foreignAddress(t *testing.T) {
	ip(t, "link", "add", "br9", "type", "bridge")
	ip(t, "addr", "add", "10.77.0.1/24", "dev", "br9")
}

func (l likeness) conf(dir string) string {
	version := l.version
	if version == "" {
		version = "1.0.0"
	}
	return fmt.Sprintf(`{"cniVersion":%q,"name":"like","plugins":[%s{"type":"bridge","bridge":"br9",%s,
	  "ipam":{"type":"host-local","dataDir":%q,%s}}%s]}`, version, l.before, l.bridge, dir, l.ipam, l.after)
}

// TestConformance runs each configuration through the reference plugins and
// through the native network, each on a host of its own, and compares what is
// there to be seen: results, links, addresses, routes, switches, files, who
// reaches whom and under which address.
func TestConformance(t *testing.T) {
	if os.Getenv(insideVar) != "" {
		conformanceInside(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	bin := builtPlugins(t)
	for _, l := range likenesses {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			var want, got []string
			var bad, worse error
			var both sync.WaitGroup // most of the time they wait for answers that do not come
			both.Go(func() { want, bad = seenBy(t, l, bin, "exec") })
			both.Go(func() { got, worse = seenBy(t, l, bin, "native") })
			both.Wait()
			must(t, errors.Join(bad, worse))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the native network differs (-reference +native):\n%s", diff)
			}
		})
	}
}

// seenBy runs one configuration on a host of its own.
func seenBy(t *testing.T, l likeness, bin, who string) (seen []string, err error) {
	out := filepath.Join(t.TempDir(), "seen.json")
	err = onOwnHost(t, "TestConformance", insideVar+"="+bin, "SLIPWAY_CNI_TEST_LIKENESS="+l.name, "SLIPWAY_CNI_TEST_WHO="+who, "SLIPWAY_CNI_TEST_OUT="+out)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	return seen, json.Unmarshal(data, &seen)
}

// onOwnHost runs a test again in a network and mount namespace of its own.
func onOwnHost(t *testing.T, test string, env ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	inside := exec.CommandContext(t.Context(), self, "-test.run=^"+test+"$", "-test.v", "-test.timeout=3m")
	inside.Env = append(os.Environ(), env...)
	inside.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
	runtime.LockOSThread() // the death signal follows the thread
	defer runtime.UnlockOSThread()
	if out, err := inside.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+test) {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

func conformanceInside(t *testing.T) {
	name, native := os.Getenv("SLIPWAY_CNI_TEST_LIKENESS"), os.Getenv("SLIPWAY_CNI_TEST_WHO") == "native"
	i := slices.IndexFunc(likenesses, func(l likeness) bool { return l.name == name })
	l := likenesses[i]
	h := newHost(t)
	if l.host != nil {
		l.host(t)
	}
	must(t, os.WriteFile(h.conf+"/10.conflist", []byte(l.conf(h.addresses)), 0o644))
	s := &sight{host: h}
	n := h.network(os.Getenv(insideVar), native)
	if b, _ := json.Marshal(n.Config()); strings.Contains(string(b), `"native":true`) != native {
		t.Fatalf("native is not %v: %s", native, b)
	}
	s.look(l, n, native)
	data, err := json.Marshal(s.seen)
	must(t, err)
	must(t, os.WriteFile(os.Getenv("SLIPWAY_CNI_TEST_OUT"), data, 0o600))
}

// sight collects what there is to be seen.
type sight struct {
	*host
	attached bool
	seen     []string
}

func (s *sight) add(what string, v any) { s.seen = append(s.seen, fmt.Sprintf("%s: %v", what, v)) }

func (s *sight) look(l likeness, n *cni.Network, native bool) {
	first := s.pod("pod1", l.ports)
	a, err := s.attach(n, first)
	s.add("first pod attached", err == nil)
	if err != nil {
		s.t.Logf("attach: %v", err)
		s.files()
		return
	}
	s.attached = true
	second := s.pod("pod2", nil)
	b, err := s.attach(n, second)
	s.add("second pod attached", err == nil)
	s.result(a)
	s.files()
	s.links()
	s.switches(a)
	if b != nil {
		s.traffic(l, a)
	}
	if l.rules {
		s.rules()
	}
	for range 2 {
		must(s.t, n.Detach(s.t.Context(), first.Pod, again(s.t, a)))
	}
	s.add("after", "DEL")
	s.files()
	if l.rules {
		s.rules()
	}
	first.gone()
	if b != nil { // its namespace is gone before DEL
		second.gone()
		must(s.t, n.Detach(s.t.Context(), second.Pod, again(s.t, b)))
	}
	s.files()
	s.noDevices()
	s.add("connection after DEL", ask("tcp", "127.0.0.1:8081"))
	if native { // the reference leaves masquerade rules of a namespace that is gone
		s.leftovers()
	}
}

var (
	macForm  = regexp.MustCompile(`([0-9a-f]{2}:){5}[0-9a-f]{2}`)
	vethForm = regexp.MustCompile(`veth[0-9a-f]{8}`)
	linkForm = regexp.MustCompile(`fe80::[0-9a-f:]+`)
)

// plain replaces what is random.
func plain(s string) string {
	s = macForm.ReplaceAllString(s, "MAC")
	s = vethForm.ReplaceAllString(s, "VETH")
	return linkForm.ReplaceAllString(s, "LINKLOCAL")
}

func (s *sight) result(a *cni.Attachment) {
	var v any
	must(s.t, json.Unmarshal(a.Result, &v))
	sorted, err := json.Marshal(v)
	must(s.t, err)
	s.add("result", plain(string(sorted)))
	s.add("addresses", a.Addresses)
}

func (s *sight) files() {
	names, _ := filepath.Glob(s.addresses + "/like/*")
	slices.Sort(names)
	for _, name := range names {
		data, err := os.ReadFile(name)
		must(s.t, err)
		if !s.attached && filepath.Base(name) == "lock" {
			continue
		}
		fi, err := os.Stat(name)
		must(s.t, err)
		s.add("file "+filepath.Base(name), fmt.Sprintf("%s %q", fi.Mode(), data))
	}
}
