package server

import (
	"encoding/json"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
)

// podVerbose is what `crictl inspectp` shows under "info". Names are those that
// users of other runtimes know.
type podVerbose struct {
	SandboxID      string                `json:"sandboxID"`
	Pid            int                   `json:"pid"` // of the shared PID namespace's PID 1; else 0, there is no process
	RuntimeHandler string                `json:"runtimeHandler"`
	NetNamespace   string                `json:"netNamespace"` // "" on the host's network
	CNIResult      json.RawMessage       `json:"cniResult,omitempty"`
	Config         *cri.PodSandboxConfig `json:"config"`
	RuntimeSpec    podSpec               `json:"runtimeSpec"`

	// As last updated, else as in Config.
	Overhead  *cri.LinuxContainerResources `json:"overhead,omitempty"`
	Resources *cri.LinuxContainerResources `json:"resources,omitempty"`
}

// podSpec is the part of a runtime spec that people read to find a pod's
// network namespace. A pod of ours runs no process of its own, so no more of it
// would be true.
type podSpec struct {
	Linux struct {
		Namespaces []specs.LinuxNamespace `json:"namespaces"`
	} `json:"linux"`
}

func podInfo(p *sandbox.Pod) (map[string]string, error) {
	v := podVerbose{
		SandboxID:      p.ID,
		Pid:            p.Pid,
		RuntimeHandler: p.Handler,
		NetNamespace:   p.NetNS,
		CNIResult:      p.CNIResult,
		Config:         p.Config,
		Overhead:       p.Overhead,
		Resources:      p.Resources,
	}
	v.RuntimeSpec.Linux.Namespaces = []specs.LinuxNamespace{}
	if p.NetNS != "" {
		v.RuntimeSpec.Linux.Namespaces = append(v.RuntimeSpec.Linux.Namespaces,
			specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: p.NetNS})
	}
	return info(map[string]any{"info": v})
}
