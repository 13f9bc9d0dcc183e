package cni_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"slipway/cni"
)

func TestAttachAndDetach(t *testing.T) {
	t.Setenv("SECRET_OF_THE_DAEMON", "x")
	b := newBench(t)
	b.chain("10-net.conflist", "net", nil, nil)
	b.open(0)
	if err := b.net.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := pod("pod1")
	p.CgroupParent = "/kubepods/pod1"
	p.Annotations = map[string]string{"kubernetes.io/ingress-bandwidth": "10M", "note": "a;b=c"}
	p.Ports = []cni.PortMapping{{HostPort: 8080, ContainerPort: 80, Protocol: "TCP", HostIP: "127.0.0.1"}, {ContainerPort: 81}}
	p.DNS = cni.DNS{Servers: []string{"10.0.0.10"}}
	full, err := b.net.Attach(t.Context(), p, again(t, b.attempt(p)))
	if err != nil {
		t.Fatal(err)
	}
	want := []netip.Addr{netip.MustParseAddr("10.1.0.5"), netip.MustParseAddr("fd00::5")}
	if !slices.Equal(full.IPs(), want) {
		t.Errorf("addresses %v, want %v", full.IPs(), want)
	}
	if !strings.Contains(string(full.Result), "10.1.0.1") {
		t.Errorf("result lost: %s", full.Result)
	}
	if err := b.net.Detach(t.Context(), p, again(t, full)); err != nil {
		t.Fatal(err)
	}
	b.wantOrder("ADD fake-a, ADD fake-b, DEL fake-b, DEL fake-a")

	calls := b.calls()
	for _, c := range calls {
		e := env(c)
		wantEnv := map[string]string{
			"CNI_COMMAND": c.Command, "CNI_CONTAINERID": "pod1", "CNI_NETNS": "/proc/self/ns/net", "CNI_IFNAME": "eth0",
			"CNI_PATH": b.bin, "PATH": os.Getenv("PATH"), "PWD": "/",
			"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=pod1;K8S_POD_UID=0b7e-1",
		}
		for k, v := range e {
			if wantEnv[k] != v {
				t.Errorf("%s %s: %s=%q, want %q", c.Command, c.Plugin, k, v, wantEnv[k])
			}
		}
		if c.Plugin == "fake-a" && c.Conf["runtimeConfig"] != nil {
			t.Errorf("%s: values for a plugin that asked for none: %v", c.Command, c.Conf["runtimeConfig"])
		}
		if c.Command == "DEL" && c.Conf["prevResult"] == nil {
			t.Errorf("DEL %s without the previous result", c.Plugin)
		}
	}
	got, _ := json.Marshal(calls[1].Conf["runtimeConfig"])
	const caps = `{"bandwidth":{"ingressBurst":4294967295,"ingressRate":10000000},"cgroupPath":"/kubepods/pod1","dns":{"servers":["10.0.0.10"]},` +
		`"io.kubernetes.cri.pod-annotations":{"kubernetes.io/ingress-bandwidth":"10M","note":"a;b=c"},` +
		`"portMappings":[{"containerPort":80,"hostIP":"127.0.0.1","hostPort":8080,"protocol":"tcp"}]}`
	if string(got) != caps {
		t.Errorf("values for ADD:\n got %s\nwant %s", got, caps)
	}
	del, _ := json.Marshal(calls[2].Conf["runtimeConfig"])
	if string(del) != caps {
		t.Errorf("values for DEL:\n got %s\nwant %s", del, caps)
	}
	if left, _ := filepath.Glob(b.cache + "/*"); len(left) > 0 {
		t.Errorf("cache keeps %v", left)
	}
}

// A failed ADD is undone at once, and names the plugin and its words.
func TestAttachFails(t *testing.T) {
	tests := []struct {
		name   string
		second act
		want   []string
	}{
		{"error JSON", act{Exit: 1, Stdout: `{"cniVersion":"1.0.0","code":7,"msg":"no\nroom","details":"range full"}`}, []string{"fake-b", "no room; range full", "code 7", "exit status 1"}},
		{"exit code alone", act{Exit: 3}, []string{"fake-b", "exit status 3"}},
		{"words on stderr", act{Exit: 1, Stderr: "boom\x1b[31m"}, []string{"fake-b", "exit status 1", "boom"}},
		{"garbage", act{Stdout: "hello\x00\xff"}, []string{"fake-b", "not a JSON object"}},
		{"null", act{Stdout: "null"}, []string{"fake-b", "null"}},
		{"null in a list", act{Stdout: `{"cniVersion":"0.4.0","IPS":[null]}`}, []string{"fake-b", "null in a list"}},
		{"no address", act{Stdout: `{"cniVersion":"1.0.0"}`}, []string{"no address for eth0"}},
		{"addresses of another interface", act{Stdout: `{"cniVersion":"1.0.0","interfaces":[{"name":"br0"}],"ips":[{"interface":0,"address":"10.0.0.1/24"}]}`}, []string{"no address for eth0"}},
		{"interface out of range", act{Stdout: `{"cniVersion":"1.0.0","ips":[{"interface":7,"address":"10.0.0.1/24"}]}`}, []string{"interface 7 of 0"}},
		{"address 0.0.0.0", act{Stdout: `{"cniVersion":"1.0.0","ips":[{"address":"0.0.0.0/0"}]}`}, []string{"cannot be the address"}},
		{"unknown version", act{Stdout: `{"cniVersion":"77.0.0"}`}, []string{"fake-b", "77.0.0"}},
		{"100 MB on stdout", act{Flood: 100}, []string{"fake-b", "more than 1048576 bytes on stdout"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			b.chain("10-net.conflist", "net", nil, map[string]act{"ADD": test.second})
			b.open(0)
			attempt := b.attempt(pod("pod1"))
			full, err := b.net.Attach(t.Context(), pod("pod1"), attempt)
			mustContain(t, err, append(test.want, `network "net"`)...)
			if strings.ContainsAny(err.Error(), "\x00\n\x1b") {
				t.Errorf("the plugin's control characters are in %q", err)
			}
			if full != nil || len(attempt.IPs()) > 0 {
				t.Errorf("a failed attach returned %+v", full)
			}
			b.wantOrder("ADD fake-a, ADD fake-b, DEL fake-b, DEL fake-a")
		})
	}
}

// Noise on stderr is cut, not held against a plugin that works.
func TestNoiseOnStderr(t *testing.T) {
	b := newBench(t)
	b.chain("10-net.conflist", "net", map[string]act{"ADD": {Noise: 30}}, nil)
	b.open(0)
	if _, err := b.net.Attach(t.Context(), pod("pod1"), b.attempt(pod("pod1"))); err != nil {
		t.Fatal(err)
	}
}

func TestResultVersionsAndOrder(t *testing.T) {
	tests := []struct{ name, stdout, want string }{
		{"0.2.0", `{"cniVersion":"0.2.0","ip4":{"ip":"10.1.0.7/24"},"ip6":{"ip":"fd00::7/64"}}`, "[10.1.0.7 fd00::7]"},
		{"IPv6 only", `{"cniVersion":"1.0.0","ips":[{"address":"fd00::9/64"}]}`, "[fd00::9]"},
		{"as the plugin orders, once each", `{"cniVersion":"1.0.0","ips":[{"address":"fd00::9/64"},{"address":"10.1.0.9/24"},{"address":"10.1.0.9/24"}]}`, "[fd00::9 10.1.0.9]"},
		{"mapped IPv4", `{"cniVersion":"1.0.0","ips":[{"address":"::ffff:10.1.0.9/120"}]}`, "[10.1.0.9]"},
		{"no version", `{"ips":[{"address":"10.1.0.9/24"}]}`, "[10.1.0.9]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			b.chain("10-net.conflist", "net", nil, map[string]act{"ADD": {Stdout: test.stdout}})
			b.open(0)
			full, err := b.net.Attach(t.Context(), pod("pod1"), b.attempt(pod("pod1")))
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(full.IPs()); got != test.want {
				t.Errorf("addresses %s, want %s", got, test.want)
			}
			if err := b.net.Detach(t.Context(), pod("pod1"), again(t, full)); err != nil {
				t.Error(err)
			}
		})
	}
}

// A plugin that hangs and ignores SIGTERM ends at the deadline with its child.
func TestPluginHangs(t *testing.T) {
	b := newBench(t)
	b.chain("10-net.conflist", "net", nil, map[string]act{"ADD": {Hang: true}})
	b.open(8 * time.Second)
	_, err := b.net.Attach(t.Context(), pod("pod1"), b.attempt(pod("pod1")))
	mustContain(t, err, "fake-b", "killed")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v is not a deadline", err)
	}
	b.wantOrder("ADD fake-a, ADD fake-b, DEL fake-b, DEL fake-a")
	c := b.calls()[1]
	for _, pid := range []int{c.Pid, c.Child} {
		eventually(t, fmt.Sprintf("end of process %d", pid), func() bool { return gone(pid) })
	}
}

// A caller that gives up is heard, and ADD is undone all the same.
func TestCallerGivesUp(t *testing.T) {
	b := newBench(t)
	b.chain("10-net.conflist", "net", map[string]act{"ADD": {Hang: true}}, nil)
	b.open(0)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for b.order() != "ADD fake-a" && ctx.Err() == nil {
			time.Sleep(5 * time.Millisecond)
		}
		cancel()
	}()
	_, err := b.net.Attach(ctx, pod("pod1"), b.attempt(pod("pod1")))
	cancel()
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("%v is not a cancellation", err)
	}
	b.wantOrder("ADD fake-a, DEL fake-b, DEL fake-a")
}

// kill -9 of the daemon ends the plugin it is running: an ADD that went on
// could finish after the next daemon's DEL.
func TestPluginDiesWithTheDaemon(t *testing.T) {
	b := newBench(t)
	b.chain("10-net.conflist", "net", nil, map[string]act{"ADD": {Gate: b.log + "/never"}})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	job, err := json.Marshal(map[string]any{
		"Options": map[string]any{"ConfDir": b.conf, "BinDirs": []string{b.bin}, "CacheDir": b.cache},
		"Pod":     pod("pod1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	daemon := &exec.Cmd{Path: self, Args: []string{"fake-daemon"}, Stdin: bytes.NewReader(job)}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ADD under way", func() bool { return b.order() == "ADD fake-a, ADD fake-b" })
	if err := daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = daemon.Wait()
	plugin := b.calls()[1].Pid
	eventually(t, "end of the plugin", func() bool { return gone(plugin) })
}

// A child that keeps stdout open does not hold up a plugin that has ended.
func TestLingeringChild(t *testing.T) {
	b := newBench(t)
	b.chain("10-net.conflist", "net", map[string]act{"ADD": {Linger: true}}, nil)
	b.open(0)
	_, err := b.net.Attach(t.Context(), pod("pod1"), b.attempt(pod("pod1")))
	if child := b.calls()[0].Child; child > 0 {
		_ = syscall.Kill(child, syscall.SIGKILL)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// gone tells whether a process has ended; a zombie has.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}

// Nothing of one pod waits for a plugin that another pod's call is stuck in.
func TestPodsDoNotWaitForEachOther(t *testing.T) {
	b := newBench(t)
	gate := b.log + "/gate"
	b.chain("10-net.conflist", "net", map[string]act{"ADD": {Gate: gate}}, nil)
	b.open(0)
	const pods = 8
	var all sync.WaitGroup
	for i := range pods {
		p := pod(fmt.Sprintf("pod%d", i))
		a := b.attempt(p)
		all.Go(func() {
			full, err := b.net.Attach(t.Context(), p, a)
			if err == nil {
				err = b.net.Detach(t.Context(), p, full)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "all pods inside ADD at once", func() bool { return len(b.calls()) == pods })
	if err := b.net.Status(t.Context()); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if got := len(b.calls()); got != 4*pods {
		t.Errorf("%d calls, want %d", got, 4*pods)
	}
}

func TestPodIsRefused(t *testing.T) {
	b := newBench(t)
	b.chain("10-net.conflist", "net", nil, nil)
	b.open(0)
	tests := []struct {
		name   string
		change func(*cni.Pod)
	}{
		{"another argument in the name", func(p *cni.Pod) { p.Name = "a;CNI_IFNAME=eth1" }},
		{"another argument in the namespace", func(p *cni.Pod) { p.Namespace = "a=b" }},
		{"another argument in the uid", func(p *cni.Pod) { p.UID = "u;x=y" }},
		{"newline", func(p *cni.Pod) { p.Name = "a\n" }},
		{"no name", func(p *cni.Pod) { p.Name = "" }},
		{"long name", func(p *cni.Pod) { p.Name = strings.Repeat("a", 254) }},
		{"path as id", func(p *cni.Pod) { p.ID = "../x" }},
		{"no namespace file", func(p *cni.Pod) { p.NetNS = "" }},
		{"protocol", func(p *cni.Pod) { p.Ports = []cni.PortMapping{{HostPort: 1, ContainerPort: 1, Protocol: "icmp"}} }},
		{"port", func(p *cni.Pod) { p.Ports = []cni.PortMapping{{HostPort: 70000, ContainerPort: 1}} }},
		{"host ip", func(p *cni.Pod) { p.Ports = []cni.PortMapping{{HostPort: 1, ContainerPort: 1, HostIP: "lo"}} }},
		{"bandwidth", func(p *cni.Pod) { p.Annotations = map[string]string{"kubernetes.io/egress-bandwidth": "fast"} }},
	}
	for _, test := range tests {
		p := pod("pod1")
		test.change(&p)
		if _, err := b.net.Attempt(p); !errors.Is(err, cni.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", test.name, err)
		}
	}
	p := pod("pod1")
	p.Name, p.Namespace, p.UID = "Web_1.x-y", "", ""
	if _, err := b.net.Attempt(p); err != nil {
		t.Errorf("a name as tools use it: %v", err)
	}
	if b.order() != "" {
		t.Errorf("plugins ran: %s", b.order())
	}
}
