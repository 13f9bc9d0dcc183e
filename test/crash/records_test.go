package crash

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/node"
)

// scene is a pod with a container that runs, one that has ended with 4, and
// one that is created; all share a PID namespace.
type scene struct {
	n                      *node.Node
	cfg                    *cri.PodSandboxConfig
	pod                    string
	running, done, created string
}

func newScene(t *testing.T) *scene {
	n := lab.New(t)
	s := &scene{n: n, cfg: n.PodConfig("scene")}
	s.cfg.Linux.SecurityContext.NamespaceOptions.Pid = cri.NamespaceMode_POD
	s.pod = n.RunPod(s.cfg)
	s.running = n.Run(s.pod, s.cfg, s.container("running", "trap 'exit 9' TERM; while :; do sleep 0.1; done"))
	s.done = n.Run(s.pod, s.cfg, s.container("done", "exit 4"))
	id, err := n.Runtime.CreateContainer(t.Context(), s.pod, s.container("created", "exit 5"), s.cfg)
	must(t, err)
	s.created = id
	n.WaitState(s.done, cri.ContainerState_CONTAINER_EXITED)
	return s
}

func (s *scene) container(name, script string) *cri.ContainerConfig {
	c := node.Container(name, script)
	c.Linux.SecurityContext.NamespaceOptions.Pid = cri.NamespaceMode_POD
	return c
}

func (s *scene) ready() bool {
	r, err := s.n.Runtime.PodSandboxStatus(s.n.T.Context(), s.pod, false)
	return err == nil && r.Status.State == cri.PodSandboxState_SANDBOX_READY
}

// intact: the pod is as it was, and goes on.
func (s *scene) intact() {
	s.n.T.Helper()
	if !s.ready() {
		s.n.T.Error("the pod is not ready")
	}
	if got := s.n.Exec(s.running, "echo", "hi"); got != "hi" {
		s.n.T.Errorf("exec: %q", got)
	}
	late := s.n.Run(s.pod, s.cfg, s.container("late", "exit 7"))
	s.code(late, 7)
	must(s.n.T, s.n.Runtime.StartContainer(s.n.T.Context(), s.created))
	s.code(s.created, 5)
	s.code(s.done, 4)
	must(s.n.T, s.n.Runtime.StopContainer(s.n.T.Context(), s.running, 10))
	s.code(s.running, 9)
}

func (s *scene) code(id string, want int32) {
	s.n.T.Helper()
	if st := s.n.WaitState(id, cri.ContainerState_CONTAINER_EXITED); st.ExitCode != want {
		s.n.T.Errorf("%s: code %d (%s: %s), want %d", st.Metadata.Name, st.ExitCode, st.Reason, st.Message, want)
	}
}

// unknown: the container has ended, and nobody invents a code.
func (s *scene) unknown(id string) {
	s.n.T.Helper()
	if st := s.n.WaitState(id, cri.ContainerState_CONTAINER_EXITED); st.ExitCode != 255 || st.Reason != "Unknown" {
		s.n.T.Errorf("%s: code %d, reason %s, want 255, Unknown", st.Metadata.Name, st.ExitCode, st.Reason)
	}
}

// gonePod: no such pod, and its name can be used again.
func (s *scene) gonePod() {
	s.n.T.Helper()
	if _, err := s.n.Runtime.PodSandboxStatus(s.n.T.Context(), s.pod, false); err == nil {
		s.n.T.Error("the pod is still there")
	}
	s.n.RunPod(s.cfg)
}

func (s *scene) goneContainer(id, name string) {
	s.n.T.Helper()
	if _, err := s.n.Runtime.ContainerStatus(s.n.T.Context(), id, false); err == nil {
		s.n.T.Error("the container is still there")
	}
	s.code(s.n.Run(s.pod, s.cfg, s.container(name, "exit 6")), 6)
}

func (s *scene) stopped() {
	s.n.T.Helper()
	if s.ready() {
		s.n.T.Error("the pod is ready")
	}
	s.n.WaitState(s.running, cri.ContainerState_CONTAINER_EXITED)
	s.code(s.done, 4)
}

func (s *scene) podFile(name string) string { return filepath.Join(podDir(s.n, s.pod), name) }

func (s *scene) file(id, name string) string {
	return filepath.Join(containerDir(s.n, s.pod, id), name)
}

func (s *scene) remove(path string) { must(s.n.T, os.RemoveAll(path)) }

func (s *scene) write(path, text string) { must(s.n.T, os.WriteFile(path, []byte(text), 0o600)) }

// edit changes one field of a record.
func (s *scene) edit(path, field string, value any) {
	s.n.T.Helper()
	b, err := os.ReadFile(path)
	must(s.n.T, err)
	var m map[string]any
	must(s.n.T, json.Unmarshal(b, &m))
	m[field] = value
	b, err = json.Marshal(m)
	must(s.n.T, err)
	s.write(path, string(b))
}

const torn = `{"version": 1, "id": "`

// What a crash at one instruction leaves, or a torn or stolen file, and what
// is to be seen afterwards. The leak oracle looks at the end of each.
var damages = map[string]struct {
	both   bool // the keeper dies too
	damage func(s *scene)
	want   func(s *scene)
}{
	"nothing":                   {false, func(*scene) {}, (*scene).intact},
	"nothing, both":             {true, func(*scene) {}, (*scene).intact},
	"before started.json":       {false, func(s *scene) { s.remove(s.file(s.running, "started.json")) }, (*scene).intact},
	"before started.json, both": {true, func(s *scene) { s.remove(s.file(s.running, "started.json")) }, func(s *scene) { must(s.n.T, s.n.Runtime.StartContainer(s.n.T.Context(), s.running)); s.intact() }},
	"before reaper.json":        {false, func(s *scene) { s.remove(s.podFile("reaper.json")) }, func(s *scene) { s.code(s.n.Run(s.pod, s.cfg, s.container("late", "exit 7")), 7) }},
	"before reaper.json, both":  {true, func(s *scene) { s.remove(s.podFile("reaper.json")) }, func(s *scene) { s.code(s.n.Run(s.pod, s.cfg, s.container("late", "exit 7")), 7) }},
	"before container.json":     {false, func(s *scene) { s.remove(s.file(s.created, "container.json")) }, func(s *scene) { s.goneContainer(s.created, "created") }},
	"during ADD":                {false, func(s *scene) { s.edit(s.podFile("net.json"), "state", "attempting") }, (*scene).gonePod},
	"before net.json":           {true, func(s *scene) { s.edit(s.podFile("net.json"), "state", "attempting") }, (*scene).gonePod},
	"stopping":                  {false, func(s *scene) { s.write(s.podFile("stopped.json"), `{"version": 1, "at": 1}`) }, (*scene).stopped},
	"stopping, both":            {true, func(s *scene) { s.write(s.podFile("stopped.json"), `{"version": 1, "at": 1}`) }, (*scene).stopped},
	"removing a container": {false, func(s *scene) {
		must(s.n.T, os.Rename(containerDir(s.n, s.pod, s.running), filepath.Join(s.n.Setup.Root, "removing", s.running)))
	}, func(s *scene) { s.goneContainer(s.running, "running") }},
	"removing a container, both": {true, func(s *scene) {
		must(s.n.T, os.Rename(containerDir(s.n, s.pod, s.running), filepath.Join(s.n.Setup.Root, "removing", s.running)))
	}, func(s *scene) { s.goneContainer(s.running, "running") }},
	"another boot":             {false, func(s *scene) { s.edit(s.podFile("pod.json"), "boot", "another") }, (*scene).stopped},
	"another boot, both":       {true, func(s *scene) { s.edit(s.podFile("pod.json"), "boot", "another") }, (*scene).stopped},
	"bad pod.json":             {false, func(s *scene) { s.write(s.podFile("pod.json"), torn) }, (*scene).gonePod},
	"bad pod.json, both":       {true, func(s *scene) { s.write(s.podFile("pod.json"), torn) }, (*scene).gonePod},
	"newer pod.json":           {false, func(s *scene) { s.edit(s.podFile("pod.json"), "version", 99) }, (*scene).gonePod},
	"bad net.json":             {false, func(s *scene) { s.write(s.podFile("net.json"), torn) }, (*scene).gonePod},
	"bad reaper.json":          {false, func(s *scene) { s.write(s.podFile("reaper.json"), torn) }, func(s *scene) { s.code(s.n.Run(s.pod, s.cfg, s.container("late", "exit 7")), 7) }},
	"bad container.json":       {false, func(s *scene) { s.write(s.file(s.running, "container.json"), torn) }, func(s *scene) { s.goneContainer(s.running, "running") }},
	"bad container.json, both": {true, func(s *scene) { s.write(s.file(s.running, "container.json"), torn) }, func(s *scene) { s.goneContainer(s.running, "running") }},
	"bad container.json and spec": {true, func(s *scene) {
		s.write(s.file(s.running, "container.json"), torn)
		s.write(s.file(s.running, "config.json"), torn)
	}, func(s *scene) { s.goneContainer(s.running, "running") }},
	"bad started.json":                {false, func(s *scene) { s.write(s.file(s.running, "started.json"), torn) }, (*scene).intact},
	"bad started.json, both":          {true, func(s *scene) { s.write(s.file(s.running, "started.json"), torn) }, func(s *scene) { s.unknown(s.running) }},
	"bad exit.json":                   {true, func(s *scene) { s.write(s.file(s.done, "exit.json"), torn) }, func(s *scene) { s.unknown(s.done) }},
	"empty log.json, both":            {true, func(s *scene) { s.write(s.file(s.running, "log.json"), "") }, (*scene).intact},
	"spec of another cgroup":          {true, func(s *scene) { s.otherCgroup() }, func(s *scene) { s.goneContainer(s.running, "running") }},
	"network namespace unbound":       {false, func(s *scene) { s.unbind() }, (*scene).intact},
	"network namespace unbound, both": {true, func(s *scene) { s.unbind() }, (*scene).intact},
	"files of the pod gone":           {false, func(s *scene) { s.emptyState() }, (*scene).intact},
}

func TestDamage(t *testing.T) {
	for name, d := range damages {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			if d.both {
				killBoth(s.n)
			} else {
				_ = s.n.Daemon.Kill()
			}
			d.damage(s)
			s.n.Start()
			d.want(s)
		})
	}
}

// otherCgroup has a spec name the cgroup that all of the node's lie in.
func (s *scene) otherCgroup() {
	path := s.file(s.running, "config.json")
	b, err := os.ReadFile(path)
	must(s.n.T, err)
	own := filepath.Join(lab.Machine.Cgroup, s.running)
	if !strings.Contains(string(b), own) {
		s.n.T.Fatalf("the spec does not name %s", own)
	}
	s.write(path, strings.ReplaceAll(string(b), own, lab.Machine.Cgroup))
	s.write(s.file(s.running, "container.json"), torn)
}

// unbind takes the bind of the pod's network namespace away.
func (s *scene) unbind() {
	path := "/run/netns/slipway-" + s.pod
	must(s.n.T, syscall.Unmount(path, 0))
	s.remove(path)
}

// emptyState takes the pod's files away, as if somebody had cleaned up /run.
func (s *scene) emptyState() {
	dir := filepath.Join(s.n.Setup.State, "pods", s.pod)
	must(s.n.T, syscall.Unmount(filepath.Join(dir, "shm"), syscall.MNT_DETACH))
	s.remove(dir)
}
