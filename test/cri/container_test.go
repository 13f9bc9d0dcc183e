package cri

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/node"
)

func TestContainerLife(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("life")
	pod := n.RunPod(podCfg)
	cfg := node.Container("main", "echo out; echo err >&2; exit 7")
	id, err := n.Runtime.CreateContainer(t.Context(), pod, cfg, podCfg)
	must(t, err)
	if s := n.Status(id); s.State != cri.ContainerState_CONTAINER_CREATED || s.StartedAt != 0 || s.ImageId == "" || s.Image.Image == "" {
		t.Errorf("created: %v", s)
	}
	must(t, n.Runtime.StartContainer(t.Context(), id))
	s := n.WaitState(id, cri.ContainerState_CONTAINER_EXITED)
	if s.ExitCode != 7 || s.Reason != "Error" || s.StartedAt < s.CreatedAt || s.FinishedAt < s.StartedAt {
		t.Errorf("exited: %v", s)
	}
	raw, err := os.ReadFile(s.LogPath)
	must(t, err)
	if !strings.Contains(string(raw), " stdout F out\n") || !strings.Contains(string(raw), " stderr F err\n") {
		t.Errorf("log:\n%s", raw)
	}
	if err := n.Runtime.StartContainer(t.Context(), id); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("second start: %v, want FailedPrecondition", err)
	}
	for range 2 {
		must(t, n.Runtime.StopContainer(t.Context(), id, 1))
		must(t, n.Runtime.RemoveContainer(t.Context(), id))
	}
	if _, err := n.Runtime.ContainerStatus(t.Context(), id, false); status.Code(err) != codes.NotFound {
		t.Errorf("status of a removed container: %v, want NotFound", err)
	}
	if _, err := os.Stat(s.LogPath); err != nil {
		t.Errorf("the log went with the container: %v", err)
	}
}

func TestStop(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("stop")
	pod := n.RunPod(podCfg)
	polite := n.Run(pod, podCfg, node.Container("polite", `trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done`))
	stubborn := n.Run(pod, podCfg, node.Container("stubborn", `trap '' TERM; (trap '' TERM; sleep 1000) & echo ready; while :; do sleep 0.05; done`))
	n.WaitLog(polite, "ready")
	n.WaitLog(stubborn, "ready")
	must(t, n.Runtime.StopContainer(t.Context(), polite, 20))
	if s := n.Status(polite); s.ExitCode != 5 || s.State != cri.ContainerState_CONTAINER_EXITED {
		t.Errorf("polite: %v", s)
	}
	long := make(chan error, 1)
	go func() { long <- n.Runtime.StopContainer(t.Context(), stubborn, 600) }()
	time.Sleep(200 * time.Millisecond)
	must(t, n.Runtime.StopContainer(t.Context(), stubborn, 1)) // shortens the first one's grace
	select {
	case err := <-long:
		must(t, err)
	case <-time.After(30 * time.Second):
		t.Error("the first stop still waits for its 600 s")
	}
	if s := n.Status(stubborn); s.ExitCode != 137 || s.Reason != "Error" {
		t.Errorf("stubborn: %v", s)
	}
}

func TestExecSync(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("exec")
	pod := n.RunPod(podCfg)
	cfg := node.Container("main", "sleep 1000")
	cfg.Envs = []*cri.KeyValue{{Key: "GREETING", Value: []byte("hello")}}
	cfg.WorkingDir = "/var/made"
	id := n.Run(pod, podCfg, cfg)

	if got := n.Exec(id, "sh", "-c", `echo $GREETING $PWD $$ >&1`); !strings.HasPrefix(got, "hello /var/made ") {
		t.Errorf("got %q", got)
	}
	out, errs, err := n.Runtime.ExecSync(t.Context(), id, []string{"sh", "-c", "echo o; echo e >&2; exit 3"}, 10*time.Second)
	if err == nil || !strings.Contains(err.Error(), "3") || strings.TrimSpace(string(out)) != "o" || strings.TrimSpace(string(errs)) != "e" {
		t.Errorf("exit 3: %q, %q, %v", out, errs, err)
	}
	_, _, err = n.Runtime.ExecSync(t.Context(), id, []string{"sh", "-c", "sleep 1000 & sleep 1000"}, time.Second)
	if err == nil || !strings.Contains(err.Error(), "timed out after 1s") { // the client has taken DeadlineExceeded off
		t.Errorf("time-out: %v", err)
	}
	if ps := n.Exec(id, "ps", "-o", "args"); strings.Count(ps, "sleep 1000") != 1 {
		t.Errorf("the timed-out command's children live on:\n%s", ps)
	}
	// A child that holds the streams open does not hold up the answer.
	start := time.Now()
	if got := n.Exec(id, "sh", "-c", "sleep 60 & echo hi"); got != "hi" {
		t.Errorf("got %q", got)
	}
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("took %s", d)
	}
	if _, _, err = n.Runtime.ExecSync(t.Context(), id, []string{"/no/such/command"}, time.Second); err == nil || !strings.Contains(err.Error(), "/no/such/command") {
		t.Errorf("missing command: %v", err)
	}
	if s := n.Status(id); s.State != cri.ContainerState_CONTAINER_RUNNING {
		t.Errorf("an exec ended the container: %v", s)
	}
}

func TestStartErrorsNameTheCause(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("bad")
	pod := n.RunPod(podCfg)
	for name, tt := range map[string]struct {
		change func(*cri.ContainerConfig)
		want   []string
	}{
		"command":  {func(c *cri.ContainerConfig) { c.Command = []string{"/no/such/program"} }, []string{"/no/such/program", "no such file"}},
		"not-exec": {func(c *cri.ContainerConfig) { c.Command = []string{"/etc/passwd"} }, []string{"/etc/passwd", "permission denied"}},
		"loop": {func(c *cri.ContainerConfig) {
			loop := filepath.Join(n.Setup.Dir, "loop")
			_ = os.Symlink(loop, loop)
			c.Mounts = []*cri.Mount{{HostPath: loop, ContainerPath: "/data"}}
		}, []string{"loop"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := node.Container(name, "true")
			tt.change(cfg)
			id, err := n.Runtime.CreateContainer(t.Context(), pod, cfg, podCfg)
			if err == nil {
				err = n.Runtime.StartContainer(t.Context(), id)
				if s := n.Status(id); s.State != cri.ContainerState_CONTAINER_EXITED || s.Reason != "StartError" || s.ExitCode != 128 {
					t.Errorf("status: %v", s)
				}
			}
			if err == nil {
				t.Fatal("it started")
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("no %q in %q", w, err)
				}
			}
		})
	}
}

func TestCreateErrors(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("refused")
	pod := n.RunPod(podCfg)
	for name, tt := range map[string]struct {
		change func(*cri.ContainerConfig)
		code   codes.Code
		want   string
	}{
		"image":    {func(c *cri.ContainerConfig) { c.Image.Image = "localhost/none:1" }, codes.NotFound, "localhost/none:1"},
		"user":     {func(c *cri.ContainerConfig) { c.Linux.SecurityContext.RunAsUsername = "ghost" }, codes.InvalidArgument, "ghost"},
		"group":    {func(c *cri.ContainerConfig) { c.Linux.SecurityContext.RunAsGroup = &cri.Int64Value{Value: 5} }, codes.InvalidArgument, "group"},
		"log path": {func(c *cri.ContainerConfig) { c.LogPath = "../../../etc/x" }, codes.InvalidArgument, "log"},
		"name":     {func(c *cri.ContainerConfig) { c.Metadata.Name = "" }, codes.InvalidArgument, "name"},
		"cap": {func(c *cri.ContainerConfig) {
			c.Linux.SecurityContext.Capabilities = &cri.Capability{AddCapabilities: []string{"FLY"}}
		}, codes.InvalidArgument, "FLY"},
		"seccomp": {func(c *cri.ContainerConfig) {
			c.Linux.SecurityContext.Seccomp = &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Localhost}
		}, codes.InvalidArgument, "seccomp"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := node.Container("c", "true")
			tt.change(cfg)
			_, err := n.Runtime.CreateContainer(t.Context(), pod, cfg, podCfg)
			if status.Code(err) != tt.code || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s naming %q", err, tt.code, tt.want)
			}
		})
	}
	if all, err := n.Runtime.ListContainers(t.Context(), nil); err != nil || len(all) != 0 {
		t.Errorf("left: %v, %v", all, err)
	}
}

func TestIdentityAndPrivileges(t *testing.T) {
	n := newNode(t)
	script := `id -u; id -g; id -G; grep -E '^(Cap(Inh|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status; ls /proc/self/fd | wc -l; umask; grep -E 'Sig(Blk|Ign)' /proc/self/status`
	out, s := n.Output("who", script, func(_ *cri.PodSandboxConfig, c *cri.ContainerConfig) {
		sc := c.Linux.SecurityContext
		sc.RunAsUser, sc.RunAsGroup = &cri.Int64Value{Value: 1001}, &cri.Int64Value{Value: 1002}
		sc.SupplementalGroups = []int64{1234}
		sc.NoNewPrivs = true
		sc.Seccomp = &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}
	})
	for _, want := range []string{
		"1001\n1002\n1002 1234\n", "CapInh:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t00000000a80425fb", "CapAmb:\t0000000000000000",
		"NoNewPrivs:\t1", "Seccomp:\t2", "\n0022\n", "SigBlk:\t0000000000000000",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if u := s.GetUser().GetLinux(); u.GetUid() != 1001 || u.GetGid() != 1002 {
		t.Errorf("status says user %v", u)
	}
	root, _ := n.Output("root", `grep CapEff /proc/self/status; cat /proc/timer_list | wc -c; (echo 1 > /proc/sys/kernel/hostname) 2>/dev/null || echo readonly`, func(_ *cri.PodSandboxConfig, c *cri.ContainerConfig) {
		c.Linux.SecurityContext.MaskedPaths = []string{"/proc/timer_list"}
		c.Linux.SecurityContext.ReadonlyPaths = []string{"/proc/sys"}
	})
	if !strings.HasPrefix(root, "CapEff:\t00000000a80425fb\n0\n") || !strings.HasSuffix(root, "readonly\n") {
		t.Errorf("default root container:\n%s", root)
	}
	direct, _ := n.Output("signals", "", func(_ *cri.PodSandboxConfig, c *cri.ContainerConfig) { // a shell ignores some itself
		c.Command = []string{"grep", "SigIgn", "/proc/self/status"}
	})
	if direct != "SigIgn:\t0000000000000000\n" {
		t.Errorf("a program begins with %q", direct)
	}
}

func TestMounts(t *testing.T) {
	n := newNode(t)
	dir := filepath.Join(n.Setup.Dir, "volumes")
	must(t, os.MkdirAll(filepath.Join(dir, "rw"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("content\n"), 0o644))
	missing := filepath.Join(dir, "missing", "dir")
	out, s := n.Output("mounts", `cat /data/file; echo w > /data/rw/new && echo written; (echo w > /ro/x) 2>/dev/null || echo readonly; ls -ld /made | cut -c1-10; cat /etc/one; touch /root-is-ro 2>/dev/null || echo root-readonly; readlink /etc/mtab`,
		func(_ *cri.PodSandboxConfig, c *cri.ContainerConfig) {
			c.Linux.SecurityContext.ReadonlyRootfs = true
			c.Mounts = []*cri.Mount{
				{HostPath: dir, ContainerPath: "/data"},
				{HostPath: dir, ContainerPath: "/ro", Readonly: true},
				{HostPath: missing, ContainerPath: "/made"},
				{HostPath: filepath.Join(dir, "file"), ContainerPath: "/etc/one"},
			}
		})
	want := "content\nwritten\nreadonly\ndrwxr-xr-x\ncontent\nroot-readonly\n"
	if !strings.HasPrefix(out, want) {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
	if len(s.Mounts) != 4 || s.Mounts[0].HostPath != dir {
		t.Errorf("status says mounts %v", s.Mounts)
	}
	if info, err := os.Stat(missing); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the missing source: %v, %v", info, err)
	}
}

func TestLimitsAndOOM(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("limits")
	pod := n.RunPod(podCfg)
	cfg := node.Container("hog", `x=a; while :; do x=$x$x; done`)
	cfg.Linux.Resources = &cri.LinuxContainerResources{MemoryLimitInBytes: 32 << 20}
	id := n.Run(pod, podCfg, cfg)
	if s := n.WaitState(id, cri.ContainerState_CONTAINER_EXITED); s.Reason != "OOMKilled" || s.ExitCode != 137 {
		t.Errorf("hog: %v", s)
	}

	calm := node.Container("calm", "sleep 1000")
	calm.Linux.Resources = &cri.LinuxContainerResources{CpuShares: 512, MemoryLimitInBytes: 64 << 20}
	id = n.Run(pod, podCfg, calm)
	must(t, n.Runtime.UpdateContainerResources(t.Context(), id, &cri.ContainerResources{Linux: &cri.LinuxContainerResources{MemoryLimitInBytes: 96 << 20}}))
	r := n.Status(id).GetResources().GetLinux()
	if r.GetMemoryLimitInBytes() != 96<<20 || r.GetCpuShares() != 512 {
		t.Errorf("after an update of memory alone: %v", r)
	}
	verbose, err := n.Runtime.ContainerStatus(t.Context(), id, true)
	must(t, err)
	var info struct{ RuntimeSpec specs.Spec }
	must(t, json.Unmarshal([]byte(verbose.GetInfo()["info"]), &info))
	if in := info.RuntimeSpec.Linux.Resources; *in.Memory.Limit != 96<<20 || *in.CPU.Shares != 512 || len(in.Devices) == 0 {
		t.Errorf("the spec after an update: %+v", in)
	}
	st, err := n.Runtime.ContainerStats(t.Context(), id)
	must(t, err)
	if st.GetMemory().GetWorkingSetBytes().GetValue() == 0 || st.GetCpu().GetUsageCoreNanoSeconds().GetValue() == 0 || st.GetAttributes().GetId() != id {
		t.Errorf("stats: %v", st)
	}
	fs, err := n.Images.ImageFsInfo(t.Context())
	must(t, err)
	if at := fs.GetContainerFilesystems()[0].GetFsId().GetMountpoint(); st.GetWritableLayer().GetFsId().GetMountpoint() != at {
		t.Errorf("the writable layer is on %q, containers on %q", st.GetWritableLayer().GetFsId().GetMountpoint(), at)
	}
}

func TestLogRotation(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("rotate")
	pod := n.RunPod(podCfg)
	id := n.Run(pod, podCfg, node.Container("seq", `i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done; echo end`))
	path := n.Status(id).LogPath
	var files []string
	for i := range 3 {
		old := path + "." + string(rune('a'+i))
		if os.Rename(path, old) == nil {
			files = append(files, old)
			if err := n.Runtime.ReopenContainerLog(t.Context(), id); err != nil {
				if status.Code(err) != codes.FailedPrecondition {
					t.Fatalf("reopen: %v", err)
				}
				n.WaitState(id, cri.ContainerState_CONTAINER_EXITED)
			}
		}
	}
	n.WaitState(id, cri.ContainerState_CONTAINER_EXITED)
	var all strings.Builder
	for _, f := range append(files, path) {
		if _, err := os.Stat(f); err == nil {
			all.WriteString(n.Log(&cri.ContainerStatus{LogPath: f}))
		}
	}
	var want strings.Builder
	for i := 1; i <= 3000; i++ {
		want.WriteString("line " + strconv.Itoa(i) + "\n")
	}
	want.WriteString("end\n")
	if all.String() != want.String() {
		t.Errorf("%d bytes over %d files, want %d", all.Len(), len(files)+1, want.Len())
	}
}
