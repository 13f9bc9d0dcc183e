package sandbox

import (
	"encoding/json"
	"net/netip"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// State is where a container is in its life:
//
//	Created --Start--> Running --exit--> Exited
//	   \__________ failed start ________/
//
// A container that is being removed has no state: it is not there.
type State int

// The states of a container. There is no "unknown": what cannot be known about
// an end (its code) is said by Reason.
const (
	Created State = iota
	Running
	Exited
)

// Reasons of an end, as the kubelet knows them.
const (
	ReasonCompleted  = "Completed"
	ReasonError      = "Error"
	ReasonOOMKilled  = "OOMKilled"
	ReasonStartError = "StartError"
	ReasonUnknown    = "Unknown"
	ReasonNodeReboot = "NodeReboot"
)

// Pod is a pod sandbox as it was at one moment. It is never changed; whoever
// holds one may read it without a lock.
type Pod struct {
	ID        string
	Config    *cri.PodSandboxConfig // as requested
	Handler   string                // RuntimeClass handler, "" is the default
	CreatedAt time.Time
	Ready     bool
	IPs       []netip.Addr    // of eth0, in the plugins' order; none on the host's network
	NetNS     string          // path of the bind of its network namespace, "" on the host's network
	CNIResult json.RawMessage // what the plugins said, for verbose status
	Pid       int             // of the PID 1 of a shared PID namespace, else 0

	Overhead, Resources *cri.LinuxContainerResources // as last said by the client; may be nil
}

// Container is a container as it was at one moment. It is never changed.
type Container struct {
	ID     string
	PodID  string
	Config *cri.ContainerConfig // as requested

	ImageID  string // digest of the image's configuration: sha256:...
	ImageRef string // repo digest, or the id if the image has none
	// VolumeImages are the ids of the images that are mounted as volumes, by the
	// path in the container as it was requested. A kubelet keeps images that it
	// finds in use here.
	VolumeImages map[string]string

	State      State
	CreatedAt  time.Time
	StartedAt  time.Time // zero: never started
	FinishedAt time.Time // zero: not ended
	ExitCode   int32     // 128+n for signal n
	Reason     string
	Message    string
	Pid        int // of its init, as the host numbers it; 0 when it does not run

	LogPath    string // absolute, on the host; "" when it has no log
	User       *cri.LinuxContainerUser
	Resources  *cri.LinuxContainerResources // as they are in force
	StopSignal cri.Signal
}

// ExecResult is what a command printed, each stream cut at 16 MiB, and its exit
// code (128+n for signal n).
type ExecResult struct {
	Stdout, Stderr []byte
	Code           int32
}
