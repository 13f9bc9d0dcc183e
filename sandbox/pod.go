package sandbox

import (
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"sync/atomic"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/cni"
)

// pod is a pod sandbox: its namespaces, its network, its files.
type pod struct {
	id      string
	dir     string // of its records
	config  *cri.PodSandboxConfig
	handler string
	created int64
	parent  string // cgroup parent, where the request names none

	// op: operations on containers share it; stopping and removing the pod
	// take it whole.
	op sync.RWMutex

	// What follows is guarded by op, held whole, or by being the one who makes
	// or recovers the pod; namespaces and reaper also by holders, below.
	network *netRecord
	gone    bool // removed: whoever waited for op finds nothing

	// holders guards what a container's start may add to.
	holders    sync.Mutex
	namespaces map[specs.LinuxNamespaceType]int // fds, owned
	reaper     *process                         // PID 1 of the shared PID namespace, made by the first container that shares
	limits     podLimits                        // as last updated; guarded by holders too

	gauge gauge // of what it uses, while it is ready

	snapshot atomic.Pointer[Pod]
}

// process is a process of ours: the pidfd is owned.
type process struct {
	pid   int
	pidfd int
}

func podKey(m *cri.PodSandboxMetadata) string {
	return fmt.Sprintf("pod\x00%s\x00%s\x00%s\x00%d", m.GetNamespace(), m.GetName(), m.GetUid(), m.GetAttempt())
}

func podName(m *cri.PodSandboxMetadata) string {
	return fmt.Sprintf("pod sandbox %q", m.GetNamespace()+"/"+m.GetName())
}

// podOptions are the namespace modes that a pod asks for.
func podOptions(cfg *cri.PodSandboxConfig) *cri.NamespaceOption {
	return cfg.GetLinux().GetSecurityContext().GetNamespaceOptions()
}

func (s *pod) hostNetwork() bool {
	return podOptions(s.config).GetNetwork() == cri.NamespaceMode_NODE
}

func (s *pod) hostIPC() bool { return podOptions(s.config).GetIpc() == cri.NamespaceMode_NODE }

// netnsPath is where the pod's network namespace is bound, for CNI plugins and
// for `ip netns`.
func (p *Pods) netnsPath(id string) string {
	return filepath.Join(p.o.NetNSDir, "slipway-"+id)
}

// files of a pod that containers see; all lie in its state directory.
func (p *Pods) hostsPath(id string) string    { return filepath.Join(p.stateDir(id), "hosts") }
func (p *Pods) hostnamePath(id string) string { return filepath.Join(p.stateDir(id), "hostname") }
func (p *Pods) resolvPath(id string) string   { return filepath.Join(p.stateDir(id), "resolv.conf") }
func (p *Pods) shmPath(id string) string      { return filepath.Join(p.stateDir(id), "shm") }

// network as CNI plugins are told of it.
func (p *Pods) network(s *pod) cni.Pod {
	m := s.config.GetMetadata()
	n := cni.Pod{
		ID: s.id, Name: m.GetName(), Namespace: m.GetNamespace(), UID: m.GetUid(),
		NetNS:        p.netnsPath(s.id),
		CgroupParent: p.cgroupParent(s),
		Labels:       maps.Clone(s.config.GetLabels()),
		Annotations:  maps.Clone(s.config.GetAnnotations()),
	}
	if d := s.config.GetDnsConfig(); d != nil {
		n.DNS = cni.DNS{Servers: d.GetServers(), Searches: d.GetSearches(), Options: d.GetOptions()}
	}
	for _, m := range s.config.GetPortMappings() {
		if m.GetHostPort() == 0 {
			continue
		}
		n.Ports = append(n.Ports, cni.PortMapping{
			HostPort: m.GetHostPort(), ContainerPort: m.GetContainerPort(),
			Protocol: protocolName(m.GetProtocol()), HostIP: m.GetHostIp(),
		})
	}
	return n
}

func protocolName(p cri.Protocol) string {
	switch p {
	case cri.Protocol_UDP:
		return "udp"
	case cri.Protocol_SCTP:
		return "sctp"
	default:
		return "tcp"
	}
}

func (p *Pods) cgroupParent(s *pod) string {
	if parent := s.config.GetLinux().GetCgroupParent(); parent != "" {
		return parent
	}
	return s.parent
}

// hostname of a pod: what was asked for, else the short id, as people know it.
func (s *pod) hostname() string {
	if h := s.config.GetHostname(); h != "" {
		return h
	}
	return s.id[:12]
}

// describe makes the snapshot of a pod.
func (p *Pods) describe(s *pod, ready bool) *Pod {
	snap := &Pod{
		ID: s.id, Config: s.config, Handler: s.handler,
		CreatedAt: unixNano(s.created), Ready: ready,
	}
	if !s.hostNetwork() {
		snap.NetNS = p.netnsPath(s.id)
	}
	if s.network != nil && s.network.Attachment != nil {
		snap.IPs = s.network.Attachment.IPs()
		snap.CNIResult = s.network.Attachment.Result
	}
	if s.reaper != nil {
		snap.Pid = s.reaper.pid
	}
	snap.Overhead, snap.Resources = s.effective()
	return snap
}
