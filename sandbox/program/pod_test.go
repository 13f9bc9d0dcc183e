package program

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

func makePod(t *testing.T, p *Pod) map[specs.LinuxNamespaceType]int {
	t.Helper()
	needRoot(t)
	prog, err := p.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	c, err := start(t, prog)
	if err != nil {
		t.Fatal(err)
	}
	if c.Pid != 0 || c.Pidfd != -1 || len(c.Offered) != len(p.Offers()) {
		t.Fatalf("%+v", c)
	}
	ns := map[specs.LinuxNamespaceType]int{}
	for i, kind := range p.Offers() {
		ns[kind] = c.Offered[i]
	}
	t.Cleanup(func() { linux.CloseAll(c.Offered...) })
	return ns
}

// join makes a spec that joins a pod's namespaces.
func inPod(ns map[specs.LinuxNamespaceType]int, args ...string) *specs.Spec {
	s := testSpec(args...)
	for i := range s.Linux.Namespaces {
		if _, ok := ns[s.Linux.Namespaces[i].Type]; ok {
			s.Linux.Namespaces[i].Path = "held"
		}
	}
	return s
}

func TestPod(t *testing.T) {
	host, _ := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	ns := makePod(t, &Pod{
		Net: true, IPC: true, UTS: true, Hostname: "pod", Domainname: "example",
		Sysctls: map[string]string{"net.ipv4.ip_unprivileged_port_start": "81", "kernel.shm_rmid_forced": "1", "net/ipv4/conf/lo/forwarding": "1"},
	})
	s := inPod(ns, "facts", "cat=/proc/sys/net/ipv4/ip_unprivileged_port_start", "cat=/proc/sys/kernel/shm_rmid_forced", "cat=/sys/class/net/lo/flags", "cat=/proc/sys/kernel/domainname")
	out, err := runContainer(t, &Container{Spec: s, Root: image(t), Join: ns, PidInit: -1, Cgroup: noCgroup()})
	if err != nil {
		t.Fatal(err)
	}
	hasAll(t, out, "host=pod\n", `port_start: "81\n"`, `rmid_forced: "1\n"`, `lo/flags: "0x9\n"`, `domainname: "example\n"`)
	if now, _ := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); string(now) != string(host) {
		t.Error("the host's sysctl has changed")
	}
}

func TestPodUser(t *testing.T) {
	m := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	ns := makePod(t, &Pod{User: true, Net: true, UTS: true, UIDs: m, GIDs: m, Hostname: "pod"})
	owner, err := unix.IoctlRetInt(ns[specs.NetworkNamespace], unix.NS_GET_USERNS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(owner)
	a, _ := linux.PlaceOf(owner)
	b, _ := linux.PlaceOf(ns[specs.UserNamespace])
	if a.Inode != b.Inode {
		t.Error("the network namespace is not owned by the user namespace")
	}
}

func TestPodSysctlsThatAreNotItsOwn(t *testing.T) {
	for _, tt := range []struct {
		p    Pod
		name string
		val  string
	}{
		{Pod{IPC: true}, "net.ipv4.ip_forward", "1"},
		{Pod{Net: true}, "kernel.shmmax", "1"},
		{Pod{Net: true, IPC: true}, "kernel.core_pattern", "x"},
		{Pod{Net: true, IPC: true}, "net.ipv4/../kernel/core_pattern", "x"},
		{Pod{Net: true, IPC: true}, "net/../kernel/core_pattern", "x"},
		{Pod{Net: true, IPC: true}, "net..ipv4", "x"},
		{Pod{Net: true, IPC: true}, "kernel.shm_rmid_forced=1+kernel.core_pattern", "x"},
		{Pod{Net: true, IPC: true}, "kernel.sem", "1\n2"},
		{Pod{Net: true, IPC: true}, "vm.swappiness", "1"},
	} {
		p := tt.p
		p.Sysctls = map[string]string{tt.name: tt.val}
		if _, err := p.Build(t.Context()); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	needRoot(t)
	p := &Pod{Net: true, Sysctls: map[string]string{"net.none.such": "1"}}
	prog, err := p.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	var e *StepError
	if _, err = start(t, prog); !errors.As(err, &e) || e.Step != "open sysctl" || e.Path != "net.none.such" {
		t.Error(err)
	}
}

func TestReaperAndSharedPID(t *testing.T) {
	ns := makePod(t, &Pod{Net: true, IPC: true, UTS: true, Hostname: "pod"})
	prog, err := (&Reaper{Join: ns, Cgroup: noCgroup()}).Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	reaper, err := start(t, prog)
	if err != nil {
		t.Fatal(err)
	}
	end(t, reaper)
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", reaper.Pid))
	hasAll(t, strings.ReplaceAll(string(status), "\t", " "), "Uid: 65535 65535 65535 65535", "CapEff: 0000000000000000", "CapBnd: 0000000000000000",
		"NoNewPrivs: 1", "SigIgn: 0000000000010000", "NSpid: "+fmt.Sprint(reaper.Pid)+" 1")
	if es, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", reaper.Pid)); len(es) != 0 {
		t.Errorf("the reaper holds %v", es)
	}
	mounts, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", reaper.Pid))
	if !strings.Contains(string(mounts), " /proc ro,") {
		t.Errorf("%s", mounts)
	}
	root := image(t)
	s := inPod(ns, "facts", "link=/proc/1/exe", "cat=/proc/1/comm", "ls=/proc/1/task", "cat=/proc/keys", "write=/proc/self/oom_score_adj", "write=/proc/sys/vm/swappiness", "mounts")
	out, err := runContainer(t, &Container{Spec: s, Root: root, Join: ns, PidInit: reaper.Pidfd, Cgroup: noCgroup()})
	if err != nil {
		t.Fatal(err)
	}
	hasAll(t, out, "fds=0 1 2\n", "leader=true", "host=pod", "ls /proc/1/task: [1]", `keys: ""`, "write /proc/sys/vm/swappiness: read-only",
		"write /proc/self/oom_score_adj: invalid argument", "CapEff="+defaultCapsHex)
	if strings.Contains(out, "pid=1 ") {
		t.Error("it is PID 1")
	}
	// An orphan of a container is reaped by nobody but the kernel; TARGET is
	// another container's namespace.
	target := waiting(t, &Container{Spec: testSpec(), Root: image(t), PidInit: -1, Cgroup: noCgroup()})
	out, err = runContainer(t, &Container{Spec: testSpec("facts", "cat=/proc/1/comm"), Root: root, PidInit: target.Pidfd, Cgroup: noCgroup()})
	if err != nil {
		t.Fatal(err)
	}
	hasAll(t, out, `comm: "probe\n"`, "fds=0 1 2\n")
}

func TestReaperELFs(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		if b := reaperELF(arch); len(b) > 160 || string(b[:4]) != "\x7fELF" {
			t.Errorf("%s: %d bytes", arch, len(b))
		}
	}
}
