package cri

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/node"
	"slipway/test/streams"
)

// inUsers puts a pod into a user namespace whose ids begin at host.
func inUsers(cfg *cri.PodSandboxConfig, host uint32) *cri.PodSandboxConfig {
	m := []*cri.IDMapping{{HostId: host, Length: 65536}}
	cfg.Linux.SecurityContext.NamespaceOptions.UsernsOptions = &cri.UserNamespace{Mode: cri.NamespaceMode_POD, Uids: m, Gids: m}
	return cfg
}

// likePod gives a container the namespaces of its pod, as the kubelet does.
func likePod(cfg *cri.ContainerConfig, pod *cri.PodSandboxConfig) *cri.ContainerConfig {
	cfg.Linux.SecurityContext.NamespaceOptions = pod.Linux.SecurityContext.NamespaceOptions
	return cfg
}

// mappedVolume is a volume as the kubelet asks for it in such a pod.
func mappedVolume(host, container string, pod *cri.PodSandboxConfig) *cri.Mount {
	u := pod.Linux.SecurityContext.NamespaceOptions.UsernsOptions
	return &cri.Mount{HostPath: host, ContainerPath: container, UidMappings: u.Uids, GidMappings: u.Gids}
}

func owner(t *testing.T, path string) string {
	t.Helper()
	var st syscall.Stat_t
	must(t, syscall.Lstat(path, &st))
	return fmt.Sprint(st.Uid, ":", st.Gid)
}

// hostPid is a container's process outside.
func hostPid(t *testing.T, n *node.Node, id string) int {
	t.Helper()
	r, err := n.Runtime.ContainerStatus(t.Context(), id, true)
	must(t, err)
	var info struct{ Pid int }
	must(t, json.Unmarshal([]byte(r.Info["info"]), &info))
	return info.Pid
}

// What a user namespace means: root inside, nobody outside, and everything that
// a pod has works in it.
func TestUserNamespace(t *testing.T) {
	const base = 1 << 20
	n := newNode(t)
	podCfg := inUsers(n.PodConfig("users"), base)
	podCfg.Linux.Sysctls = map[string]string{"kernel.shm_rmid_forced": "1", "net.ipv4.ip_local_port_range": "20000 30000"}
	pod := n.RunPod(podCfg)
	data := t.TempDir()
	must(t, os.WriteFile(filepath.Join(data, "old"), nil, 0o600))
	cfg := likePod(node.Container("main", `
		cat /proc/self/uid_map /proc/self/gid_map
		stat -c "%n %u:%g %a" / /bin/sh /data/old /data /etc/hosts /etc/resolv.conf /etc/hostname /dev/shm /dev/null
		cat /etc/hosts /etc/resolv.conf > /dev/null && echo host files can be read
		touch /made /data/made /dev/shm/made && echo made
		echo again > /dev/stderr
		echo "id $(id -u) $(hostname) $(cat /proc/sys/kernel/shm_rmid_forced) $(cat /proc/sys/net/ipv4/ip_local_port_range) $(cat /proc/sys/net/ipv4/ping_group_range)"
		while :; do sleep 0.1; done`), podCfg)
	cfg.Mounts = []*cri.Mount{mappedVolume(data, "/data", podCfg)}
	id := n.Run(pod, podCfg, cfg)
	n.WaitLog(id, " id ")
	log := strings.Join(strings.Fields(n.Log(n.Status(id))), " ")
	for _, want := range []string{
		"0 1048576 65536 0 1048576 65536", "/ 0:0 755", "/bin/sh 0:0", "/data/old 0:0 600", "/etc/hosts 0:0 644", "/etc/resolv.conf 0:0 644",
		"/etc/hostname 0:0 644", "/dev/shm 0:0 1777", "/dev/null 0:0 666", "host files can be read", " made ", " again ",
		"id 0 users 1 20000 30000 0 65535",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in %s", want, log)
		}
	}
	upper := filepath.Join(n.Setup.Root, "containers", id, "upper", "made")
	if got := owner(t, upper); got != "1048576:1048576" {
		t.Errorf("a file of the container is of %s outside", got)
	}
	if got := owner(t, filepath.Join(data, "made")); got != "0:0" {
		t.Errorf("a file in the volume is of %s outside", got)
	}
	st, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", hostPid(t, n, id)))
	must(t, err)
	if !strings.Contains(string(st), "Uid:\t1048576\t1048576\t1048576\t1048576\n") {
		t.Errorf("outside it is\n%s", st)
	}
	if got := n.Exec(id, "sh", "-c", "cat /proc/self/uid_map; touch /by-exec; echo $(id -u) $(cat /proc/1/comm) $(cat /proc/net/dev | grep -c eth0)"); strings.Join(strings.Fields(got), " ") != "0 1048576 65536 0 sh 1" {
		t.Errorf("exec: %q", got)
	}
	if got := owner(t, filepath.Join(filepath.Dir(upper), "by-exec")); got != "1048576:1048576" {
		t.Errorf("a file of an exec is of %s outside", got)
	}
	if s, err := n.Runtime.ContainerStats(t.Context(), id); err != nil || s.GetMemory().GetUsageBytes().GetValue() == 0 {
		t.Errorf("stats: %v, %v", s, err)
	}
	r, err := n.Runtime.Status(t.Context(), false)
	must(t, err)
	if f := r.RuntimeHandlers[0].Features; !f.GetUserNamespaces() || !f.GetRecursiveReadOnlyMounts() || !r.Features.GetUserNamespacesHostNetwork() || !r.Features.GetMountOptions() || !r.Features.GetSupplementalGroupsPolicy() {
		t.Errorf("features: %v, %v", f, r.Features)
	}
}

// Whoever has all capabilities of a user namespace can still not undo what was
// denied to the container, nor see what was hidden from it.
func TestUserNamespaceHoldsAgainstItsRoot(t *testing.T) {
	n := newNode(t)
	secret := t.TempDir()
	must(t, os.WriteFile(filepath.Join(secret, "f"), []byte("as it was"), 0o666))
	must(t, os.Chmod(secret, 0o777))
	out, _ := n.Output("attacker", `
		must() { if "$@" 2>/dev/null; then echo "it can: $*"; else echo "denied: $*"; fi; }
		for again in no yes; do
			for path in /ro /ro/sub /proc/sys /proc/keys /proc/timer_list /sys /sys/firmware /sys/fs/cgroup; do
				[ -e $path ] || continue
				must umount $path
				must umount -l $path
				case $path in /proc/keys|/proc/timer_list) continue;; esac
				must mount -o remount,rw,bind $path
				must mount -o remount,rw $path
			done
			must mount --move /ro /mnt
			must mount -t proc proc /mnt
			must mount -t sysfs sysfs /mnt
			must mount --bind /proc /mnt
			must sh -c 'echo 9 > /ro/f'
			must touch /ro/new /ro/sub/new
			must sh -c 'echo 1 > /proc/sys/vm/swappiness'
			must test -s /proc/keys
			must sh -c 'mount -t cgroup -o memory none /mnt && echo 0 > /mnt/cgroup.procs'
			must sh -c 'mount -t cgroup2 none /mnt && echo 0 > /mnt/cgroup.procs'
			umount -l /mnt 2>/dev/null
			must mknod /null c 1 3
		done
		mkdir -p /own && mount -t tmpfs own /own && echo its own mounts work
		echo over`, func(pod *cri.PodSandboxConfig, c *cri.ContainerConfig) {
		inUsers(pod, 1<<21)
		likePod(c, pod)
		c.Linux.SecurityContext.Capabilities = &cri.Capability{AddCapabilities: []string{"ALL"}}
		c.Linux.SecurityContext.Apparmor = &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Unconfined} // it forbids mounts anyway
		c.Linux.SecurityContext.MaskedPaths = []string{"/proc/keys", "/proc/timer_list", "/sys/firmware"}
		c.Linux.SecurityContext.ReadonlyPaths = []string{"/proc/sys"}
		m := mappedVolume(secret, "/ro", pod)
		m.Readonly, m.RecursiveReadOnly = true, true
		c.Mounts = []*cri.Mount{m}
	})
	if !strings.Contains(out, "its own mounts work") || !strings.Contains(out, "over") {
		t.Errorf("the attack did not come to its end:\n%s", out)
	}
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "it can: ") {
			t.Error(strings.TrimSpace(line))
		}
	}
	if b, err := os.ReadFile(filepath.Join(secret, "f")); err != nil || string(b) != "as it was" {
		t.Errorf("the volume holds %q, %v", b, err)
	}
}

// Two pods with different ids have one image, and neither has any part in what
// is the other's.
func TestUserNamespacesShareAnImage(t *testing.T) {
	n := newNode(t)
	data := t.TempDir()
	var ids []string
	for i, base := range []uint32{1 << 20, 1 << 21} {
		podCfg := inUsers(n.PodConfig(fmt.Sprint("pod", i)), base)
		cfg := likePod(node.Container("main", "sleep 1000"), podCfg)
		cfg.Mounts = []*cri.Mount{{HostPath: data, ContainerPath: "/data"}} // not mapped: the host's ids
		ids = append(ids, n.Run(n.RunPod(podCfg), podCfg, cfg))
		if got := n.Exec(ids[i], "sh", "-c", "touch /etc/mine; stat -c %u:%g /bin/sh /etc/passwd /etc/mine | sort -u; head -c 6 /proc/self/uid_map >/dev/null; cat /proc/self/uid_map"); strings.Join(strings.Fields(got), " ") != fmt.Sprint("0:0 0 ", base, " 65536") {
			t.Errorf("pod %d: %q", i, got)
		}
		upper := filepath.Join(n.Setup.Root, "containers", ids[i], "upper/etc/mine")
		if got := owner(t, upper); got != fmt.Sprint(base, ":", base) {
			t.Errorf("pod %d: its file is of %s outside", i, got)
		}
		if got := n.Exec(ids[i], "stat", "-c", "%u", "/data"); got != "65534" {
			t.Errorf("pod %d: a file of the host's root is of %s inside", i, got)
		}
	}
}

// Pods of the host's network and IPC, and a PID namespace for all.
func TestUserNamespaceBesidesOthers(t *testing.T) {
	n := newNode(t)
	for name, change := range map[string]func(*cri.NamespaceOption){
		"host network": func(o *cri.NamespaceOption) { o.Network = cri.NamespaceMode_NODE },
		"host ipc":     func(o *cri.NamespaceOption) { o.Ipc = cri.NamespaceMode_NODE },
		"host pid":     func(o *cri.NamespaceOption) { o.Pid = cri.NamespaceMode_NODE },
		"pod pid":      func(o *cri.NamespaceOption) { o.Pid = cri.NamespaceMode_POD },
		"all": func(o *cri.NamespaceOption) {
			o.Network, o.Ipc, o.Pid = cri.NamespaceMode_NODE, cri.NamespaceMode_NODE, cri.NamespaceMode_NODE
		},
	} {
		t.Run(name, func(t *testing.T) {
			podCfg := inUsers(n.PodConfig(strings.ReplaceAll(name, " ", "-")), 1<<22)
			change(podCfg.Linux.SecurityContext.NamespaceOptions)
			pod := n.RunPod(podCfg)
			id := n.Run(pod, podCfg, likePod(node.Container("main", "sleep 1000"), podCfg))
			got := n.Exec(id, "sh", "-c", "cat /proc/self/uid_map; id -u; ls -d /sys/class/net/lo /dev/mqueue /dev/shm")
			if strings.Join(strings.Fields(got), " ") != "0 4194304 65536 0 /dev/mqueue /dev/shm /sys/class/net/lo" {
				t.Errorf("%q", got)
			}
			n.RemovePod(pod)
		})
	}
	podCfg := inUsers(n.PodConfig("target"), 1<<22)
	pod := n.RunPod(podCfg)
	target := n.Run(pod, podCfg, likePod(node.Container("target", "exec sleep 1000"), podCfg))
	debug := node.Container("debug", "sleep 1000")
	options := &cri.NamespaceOption{Pid: cri.NamespaceMode_TARGET, TargetId: target, UsernsOptions: podCfg.Linux.SecurityContext.NamespaceOptions.UsernsOptions}
	debug.Linux.SecurityContext.NamespaceOptions = options
	id := n.Run(pod, podCfg, debug)
	if got := n.Exec(id, "cat", "/proc/1/comm"); got != "sleep" {
		t.Errorf("PID 1 of the target is %q", got)
	}
}

// Every death and restart leaves it as it was, and a container that starts
// afterwards finds the same user namespace.
func TestUserNamespaceSurvivesKills(t *testing.T) {
	for name, strike := range kills {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			type one struct {
				pod, id string
				cfg     *cri.PodSandboxConfig
			}
			var pods []one
			for _, host := range []bool{false, true} {
				cfg := inUsers(n.PodConfig(fmt.Sprint("survivor-", host)), 1<<20)
				if host {
					cfg.Linux.SecurityContext.NamespaceOptions.Network = cri.NamespaceMode_NODE
				}
				pod := n.RunPod(cfg)
				pods = append(pods, one{pod, n.Run(pod, cfg, likePod(node.Container("main", "sleep 1000"), cfg)), cfg})
			}
			empty := inUsers(n.PodConfig("empty"), 1<<21)
			emptyPod := n.RunPod(empty)

			strike(n)

			for _, p := range pods {
				before := n.Exec(p.id, "sh", "-c", "readlink /proc/self/ns/user; readlink /proc/self/ns/ipc")
				late := n.Run(p.pod, p.cfg, likePod(node.Container("late", "sleep 1000"), p.cfg))
				if got := n.Exec(late, "sh", "-c", "readlink /proc/self/ns/user; readlink /proc/self/ns/ipc"); got != before {
					t.Errorf("the late one is in %q, not %q", got, before)
				}
			}
			id := n.Run(emptyPod, empty, likePod(node.Container("first", "sleep 1000"), empty))
			if got := strings.Join(strings.Fields(n.Exec(id, "sh", "-c", "cat /proc/self/uid_map; hostname")), " "); got != "0 2097152 65536 empty" {
				t.Errorf("the first of an empty pod: %q", got)
			}
		})
	}
}

func TestUserNamespaceRequests(t *testing.T) {
	n := newNode(t)
	podCfg := inUsers(n.PodConfig("two"), 1<<20)
	u := podCfg.Linux.SecurityContext.NamespaceOptions.UsernsOptions
	u.Uids = append(u.Uids, &cri.IDMapping{ContainerId: 70000, HostId: 1, Length: 1})
	if _, err := n.Runtime.RunPodSandbox(t.Context(), podCfg, ""); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "2 mappings") {
		t.Errorf("two mappings: %v", err)
	}
	podCfg = inUsers(n.PodConfig("one"), 1<<20)
	pod := n.RunPod(podCfg)
	other := inUsers(n.PodConfig("other"), 1<<21)
	if _, err := n.Runtime.CreateContainer(t.Context(), pod, likePod(node.Container("main", "true"), other), podCfg); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "not those of the pod") {
		t.Errorf("other ids than the pod's: %v", err)
	}
	cfg := likePod(node.Container("proc", "true"), podCfg)
	cfg.Mounts = []*cri.Mount{mappedVolume("/proc/sys", "/data", podCfg)}
	id, err := n.Runtime.CreateContainer(t.Context(), pod, cfg, podCfg)
	must(t, err)
	if err := n.Runtime.StartContainer(t.Context(), id); err == nil || !strings.Contains(err.Error(), "cannot map the ids") {
		t.Errorf("a file system without id mapping: %v", err)
	}
}

// A mount with id mappings of its own, in a pod that has none.
func TestMountWithItsOwnIDs(t *testing.T) {
	n := newNode(t)
	data := t.TempDir()
	must(t, os.WriteFile(filepath.Join(data, "f"), nil, 0o644))
	must(t, os.Chown(filepath.Join(data, "f"), 7, 8))
	out, _ := n.Output("mapped", "stat -c %u:%g /data/f", func(_ *cri.PodSandboxConfig, c *cri.ContainerConfig) {
		c.Mounts = []*cri.Mount{{
			HostPath: data, ContainerPath: "/data",
			UidMappings: []*cri.IDMapping{{HostId: 1000, Length: 100}}, GidMappings: []*cri.IDMapping{{HostId: 2000, Length: 100}},
		}}
	})
	if strings.TrimSpace(out) != "1007:2008" {
		t.Errorf("the file is of %q inside", out)
	}
}

// Terminals, streams and forwarded ports reach into a user namespace.
func TestUserNamespaceStreams(t *testing.T) {
	n := newNode(t)
	podCfg := inUsers(n.PodConfig("streams"), 1<<20)
	pod := n.RunPod(podCfg)
	cfg := likePod(node.Container("main", "echo four > /tmp/4; httpd -p 127.0.0.1:7001 -h /tmp; sleep 1000"), podCfg)
	id := n.Run(pod, podCfg, cfg)
	cfg = likePod(node.Container("user", "exec sh"), podCfg)
	cfg.Tty, cfg.Stdin = true, true
	cfg.Linux.SecurityContext.RunAsUser = &cri.Int64Value{Value: 1000}
	user := n.Run(pod, podCfg, cfg)
	both(t, n, func(t *testing.T, n *node.Node, transport string) {
		terminal(t, n, transport, id)
		c := startAttach(n, transport, user, streams.Want{Stdin: true, Stdout: true, TTY: true})
		c.say("stat -c 'is of %u' $(tty) /dev/console; echo > /dev/tty && echo en\"\"ough\n")
		if got := c.until("enough"); strings.Count(got, "is of 1000\r\n") != 2 {
			t.Errorf("%q", got)
		}
		c.Close()
	})
	r, err := n.Runtime.PortForward(t.Context(), &cri.PortForwardRequest{PodSandboxId: pod})
	must(t, err)
	f, err := streams.Forward(t.Context(), r.GetUrl())
	must(t, err)
	defer f.Close()
	get(t, f, 7001, "/4", "four")
}
