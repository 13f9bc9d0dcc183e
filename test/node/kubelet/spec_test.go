package kubelet

import (
	"io"
	"os"
	"strings"
	"testing"
)

// What a pod's specification asks for is what its containers find.
func TestSpec(t *testing.T) {
	k := newKubelet(t)
	k.must(os.WriteFile(k.share("file"), []byte("of the host\n"), 0o644))
	k.pod("spec")
	k.pod("host")
	p := k.ready("spec")
	for script, wanted := range map[string]string{
		// Identity.
		"id -u": "1000", "id -g": "3000",
		"id -G | tr ' ' '\n' | sort | tr '\n' ' '":                                          "2000 3000 4000",
		"grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\t' | tr '\n' ' '": "CapEff:0000000000000000 NoNewPrivs:1 Seccomp:2",
		// Files.
		"touch /x 2>&1 || true":                                           "touch: /x: Read-only file system",
		"stat -c %g /empty; touch /empty/x; stat -c %g /empty/x":          "2000\n2000",
		"grep -c ' /memory tmpfs ' /proc/self/mounts; echo x > /memory/x": "1",
		"cat /host":                           "of the host",
		"touch /host 2>&1 || true":            "touch: /host: Read-only file system",
		"cat /facts/name /facts/labels; echo": `spec-machineapp="spec"`,
		"stat -Lc %a /facts/name":             "440",
		"echo x > /sub/x; ls /sub":            "x",
		// Environment and network.
		"echo $POD_IP":                                        p.Status.PodIP,
		"echo $CPUS $MEMORY $GREETING":                        "1 67108864 hello spec-machine",
		"hostname":                                            "given-name",
		"grep -c 'alias.example' /etc/hosts":                  "1",
		"cat /etc/resolv.conf | grep nameserver":              "nameserver 192.0.2.53",
		"cat /proc/sys/net/ipv4/ip_unprivileged_port_start":   "80",
		"df -k /memory | tail -1 | tr -s ' ' | cut -d' ' -f2": "8192",
		// A shared PID namespace.
		"ps -o args | grep -c '^sleep 98[7]'": "1",
	} {
		want(t, script, k.sh("spec", "user", script), wanted)
	}

	k.ready("host")
	pid, err := os.Readlink("/proc/self/ns/pid")
	k.must(err)
	net, err := os.Readlink("/proc/self/ns/net")
	k.must(err)
	ipc, err := os.Readlink("/proc/self/ns/ipc")
	k.must(err)
	want(t, "namespaces of the host", k.sh("host", "c", "cd /proc/self/ns; for n in pid net ipc; do readlink $n; done"), strings.Join([]string{pid, net, ipc}, "\n"))
	if got := k.sh("host", "c", "ip -4 addr show nknode0"); !strings.Contains(got, address) {
		t.Errorf("the host's link: %s", got)
	}
	if got := k.sh("host", "c", "grep CapEff /proc/self/status; ls /dev/kmsg"); strings.Contains(got, "0000000000000000") || !strings.Contains(got, "/dev/kmsg") {
		t.Errorf("a privileged container: %s", got)
	}
	r, err := client.Get("http://" + address + ":18080")
	k.must(err)
	defer r.Body.Close()
	page, err := io.ReadAll(r.Body)
	k.must(err)
	want(t, "the host port", string(page), "through a port of the host\n")
}
