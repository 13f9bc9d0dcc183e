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
	return s
}

// fill makes the containers.
func (s *scene) fill() {
	n, t := s.n, s.n.T
	s.running = n.Run(s.pod, s.cfg, s.container("running", "trap 'exit 9' TERM; while :; do sleep 0.1; done"))
	s.done = n.Run(s.pod, s.cfg, s.container("done", "exit 4"))
	id, err := n.Runtime.CreateContainer(t.Context(), s.pod, s.container("created", "exit 5"), s.cfg)
	must(t, err)
	s.created = id
	n.WaitState(s.done, cri.ContainerState_CONTAINER_EXITED)
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

func (s *scene) stopped() {
	s.n.T.Helper()
	if s.ready() {
		s.n.T.Error("the pod is ready")
	}
	s.n.WaitState(s.running, cri.ContainerState_CONTAINER_EXITED)
	s.code(s.done, 4)
}

// file is a record of the pod, or of one of its containers.
func (s *scene) file(of, name string) string {
	id := map[string]string{"running": s.running, "done": s.done, "created": s.created}[of]
	return filepath.Join(podDir(s.n, s.pod), id, name)
}

func (s *scene) write(path, text string) { must(s.n.T, os.WriteFile(path, []byte(text), 0o600)) }

// step is something that is done to a scene, or asked of it.
type step = func(*scene)

// without takes a record away.
func without(of, name string) step {
	return func(s *scene) { must(s.n.T, os.Remove(s.file(of, name))) }
}

// bad tears a record.
func bad(of, name string) step {
	return func(s *scene) { s.write(s.file(of, name), `{"version": 1, "id": "`) }
}

// with adds a record.
func with(of, name, text string) step {
	return func(s *scene) { s.write(s.file(of, name), text) }
}

// edited changes one field of a record.
func edited(of, name, field string, value any) step {
	return func(s *scene) {
		b, err := os.ReadFile(s.file(of, name))
		must(s.n.T, err)
		var m map[string]any
		must(s.n.T, json.Unmarshal(b, &m))
		m[field] = value
		b, err = json.Marshal(m)
		must(s.n.T, err)
		s.write(s.file(of, name), string(b))
	}
}

// removing has the first half of a removal done.
func removing(s *scene) {
	must(s.n.T, os.Rename(s.file("running", ""), filepath.Join(s.n.Setup.Root, "removing", s.running)))
}

func goneContainer(of string) step {
	return func(s *scene) {
		s.n.T.Helper()
		if _, err := s.n.Runtime.ContainerStatus(s.n.T.Context(), filepath.Base(s.file(of, "")), false); err == nil {
			s.n.T.Error("the container is still there")
		}
		s.code(s.n.Run(s.pod, s.cfg, s.container(of, "exit 6")), 6)
	}
}

// goesOn: the pod takes another container.
func goesOn(s *scene) { s.code(s.n.Run(s.pod, s.cfg, s.container("late", "exit 7")), 7) }

// startAgain: the cut-off start was never told of, and is repeated.
func startAgain(s *scene) {
	must(s.n.T, s.n.Runtime.StartContainer(s.n.T.Context(), s.running))
	s.intact()
}

// damages are what a crash at one instruction leaves, or a torn or stolen file,
// and what is to be seen afterwards. The leak oracle looks at the end of each.
var damages = []struct {
	name   string
	damage step
	want   step
	empty  bool // the pod has no containers yet
}{
	{"nothing", func(*scene) {}, (*scene).intact, false},
	{"before started.json", without("running", "started.json"), (*scene).intact, false},
	{"before reaper.json", without("pod", "reaper.json"), goesOn, false},
	{"before container.json", without("created", "container.json"), goneContainer("created"), false},
	{"during ADD", edited("pod", "net.json", "state", "attempting"), (*scene).gonePod, true},
	{"stopping", with("pod", "stopped.json", `{"version": 1, "at": 1}`), (*scene).stopped, false},
	{"removing a container", removing, goneContainer("running"), false},
	{"another boot", edited("pod", "pod.json", "boot", "another"), (*scene).stopped, false},
	{"bad pod.json", bad("pod", "pod.json"), (*scene).gonePod, false},
	{"newer pod.json", edited("pod", "pod.json", "version", 99), (*scene).gonePod, false},
	{"bad net.json", bad("pod", "net.json"), (*scene).gonePod, false},
	{"bad reaper.json", bad("pod", "reaper.json"), goesOn, false},
	{"bad container.json", bad("running", "container.json"), goneContainer("running"), false},
	{"bad started.json", bad("running", "started.json"), (*scene).intact, false},
	{"bad exit.json", bad("done", "exit.json"), func(s *scene) { s.unknown(s.done) }, false},
	{"bad log.json", bad("running", "log.json"), (*scene).intact, false},
	{"spec of another cgroup", (*scene).otherCgroup, goneContainer("running"), false},
	{"network namespace unbound", (*scene).unbind, (*scene).intact, false},
	{"files of the pod gone", (*scene).emptyState, (*scene).intact, false},
}

// otherwise: what is seen when the keeper has died too.
var otherwise = map[string]step{
	"before started.json": startAgain,
	"bad started.json":    func(s *scene) { s.unknown(s.running) },
}

func TestDamage(t *testing.T) {
	for _, d := range damages {
		for _, keeper := range []string{"keeper lives", "keeper dead"} {
			t.Run(d.name+"/"+keeper, func(t *testing.T) {
				s := newScene(t)
				if !d.empty {
					s.fill()
				}
				want := d.want
				if keeper == "keeper dead" {
					killBoth(s.n)
					if other := otherwise[d.name]; other != nil {
						want = other
					}
				} else {
					_ = s.n.Daemon.Kill()
				}
				d.damage(s)
				s.n.Start()
				want(s)
			})
		}
	}
}

// otherCgroup has a spec name the cgroup that all of the node's lie in.
func (s *scene) otherCgroup() {
	path := s.file("running", "config.json")
	b, err := os.ReadFile(path)
	must(s.n.T, err)
	own := filepath.Join(lab.Machine.Cgroup, s.running)
	if !strings.Contains(string(b), own) {
		s.n.T.Fatalf("the spec does not name %s", own)
	}
	s.write(path, strings.ReplaceAll(string(b), own, lab.Machine.Cgroup))
	bad("running", "container.json")(s)
}

// unbind takes the bind of the pod's network namespace away.
func (s *scene) unbind() {
	path := "/run/netns/slipway-" + s.pod
	must(s.n.T, syscall.Unmount(path, 0))
	must(s.n.T, os.Remove(path))
}

// emptyState takes the pod's files away, as if somebody had cleaned up /run.
func (s *scene) emptyState() {
	dir := filepath.Join(s.n.Setup.State, "pods", s.pod)
	must(s.n.T, syscall.Unmount(filepath.Join(dir, "shm"), syscall.MNT_DETACH))
	must(s.n.T, os.RemoveAll(dir))
}
