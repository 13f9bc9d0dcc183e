package sandbox

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/oci"
	"slipway/sandbox/cgroup"
	"slipway/sandbox/seccomp"
)

// container is a container: its root file system, its process, its records.
type container struct {
	id     string
	pod    *pod
	dir    string // of its records
	config *cri.ContainerConfig
	record containerRecord

	op sync.Mutex // one operation at a time: start, update, reopen, remove

	// What follows is guarded by op, or by being the one who recovers.
	process   *process // while it runs
	kept      bool     // the keeper holds something under its id
	gone      bool     // removed: whoever waited for op finds nothing
	resources *cri.LinuxContainerResources

	ended chan struct{} // closed when a started container has ended and its cgroup is gone
	over  sync.Once     // closes ended

	decided *specs.Spec                 // between create and start of one daemon: saves reading it back
	running atomic.Pointer[confinement] // what execs share, from the start or the first exec on

	gauge gauge               // of what it uses, while it runs
	seat  lazy[*cgroup.Group] // its cgroup as commands join it, while it runs

	snapshot atomic.Pointer[Container]
}

// confinement is what every command in a container is subject to. It is kept
// while the container runs: a probe each second should not read and compile it.
type confinement struct {
	spec   *specs.Spec // without its seccomp section
	filter *seccomp.Filter
}

// confine compiles what commands in the container are subject to.
func (p *Pods) confine(spec *specs.Spec) (*confinement, error) {
	filter, err := p.o.Profiles.Get(spec.Linux.Seccomp)
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	small, kernel := *spec, *spec.Linux
	small.Linux, small.Mounts, small.Annotations = &kernel, nil, nil
	kernel.Seccomp = nil
	return &confinement{spec: &small, filter: filter}, nil
}

// confinement returns it, from memory or, after a restart, from the record.
func (p *Pods) confinement(c *container) (*confinement, error) {
	if r := c.running.Load(); r != nil {
		return r, nil
	}
	spec, err := c.spec()
	if err != nil {
		return nil, err
	}
	r, err := p.confine(spec)
	if err == nil {
		c.running.Store(r)
	}
	return r, err
}

func containerKey(pod string, m *cri.ContainerMetadata) string {
	return fmt.Sprintf("container\x00%s\x00%s\x00%d", pod, m.GetName(), m.GetAttempt())
}

func (c *container) name() string {
	return fmt.Sprintf("container %q", c.config.GetMetadata().GetName())
}

// cgroupPath is the container's leaf below its pod's parent: the id is the last
// part, where cAdvisor looks for it, or with systemd in it.
func (p *Pods) cgroupPath(s *pod, id string) string {
	return cgroup.Place(p.cgroupParent(s), id)
}

func (p *Pods) group(c *container) (*cgroup.Group, error) {
	return p.o.Cgroups.Open(p.cgroupPath(c.pod, c.id))
}

// options are the namespace modes that a container asks for.
func (c *container) options() *cri.NamespaceOption {
	return c.config.GetLinux().GetSecurityContext().GetNamespaceOptions()
}

// describe makes the snapshot of a container that has not been started.
func (c *container) describe() *Container {
	r := c.record
	snap := &Container{
		ID: c.id, PodID: c.pod.id, Config: c.config,
		ImageID: r.ImageID, ImageRef: r.ImageRef, VolumeImages: r.Volumes,
		State: Created, CreatedAt: unixNano(r.Created),
		LogPath:    r.LogPath,
		User:       &cri.LinuxContainerUser{Uid: r.User.UID, Gid: r.User.GID, SupplementalGroups: r.User.Groups},
		Resources:  c.config.GetLinux().GetResources(),
		StopSignal: cri.Signal(r.Signal),
	}
	if c.resources != nil {
		snap.Resources = c.resources
	}
	return snap
}

// running is the snapshot of a container whose process runs.
func (s *Container) running(pid int, at time.Time) *Container {
	n := *s
	n.State, n.Pid, n.StartedAt = Running, pid, at
	return &n
}

// exited is the snapshot of a container that has ended, from its exit record.
func (s *Container) exited(e exitRecord) *Container {
	n := *s
	n.State, n.Pid = Exited, 0
	n.FinishedAt, n.ExitCode = unixNano(e.FinishedAt), int32(e.Code)
	n.Reason, n.Message = e.Reason, e.Message
	switch {
	case e.Unknown:
		// The keeper's reason is a sentence; here clients expect one word.
		n.ExitCode, n.Reason = 255, ReasonUnknown
		n.Message = orElse(n.Message, "the exit code is not known: nobody was there to read it when the process ended")
	case e.OOM:
		n.Reason = ReasonOOMKilled
	case n.Reason != "":
	case e.Code == 0:
		n.Reason = ReasonCompleted
	default:
		n.Reason = ReasonError
	}
	return &n
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func userOf(u oci.User) userRecord {
	r := userRecord{UID: int64(u.UID), GID: int64(u.GID)}
	for _, g := range u.Groups {
		r.Groups = append(r.Groups, int64(g))
	}
	return r
}
