package cni

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/libcni"
	cnitypes "github.com/containernetworking/cni/pkg/types"
)

const (
	byExec   = "exec"   // attached by running plugin programs
	byNative = "native" // attached in process
	podIface = "eth0"
)

// Attachment records a pod's place in the network, or the attempt to give it
// one when Result is absent. It is kept as JSON and holds all that a DEL needs.
type Attachment struct {
	Who          string                     `json:"who"` // who did ADD and so must do DEL: "exec" or "native"
	PodID        string                     `json:"podID"`
	Network      string                     `json:"network"`
	IfName       string                     `json:"ifName"`
	NetNS        string                     `json:"netns"`
	Config       json.RawMessage            `json:"config"` // the whole list, as it was when ADD ran
	Args         [][2]string                `json:"args"`
	Capabilities map[string]json.RawMessage `json:"capabilities,omitempty"`
	Result       json.RawMessage            `json:"result,omitempty"` // the last plugin's, in its own version
	Addresses    []netip.Addr               `json:"addresses,omitempty"`
}

// IPs returns the pod's addresses, the primary one first; none for an attempt.
func (a *Attachment) IPs() []netip.Addr { return slices.Clone(a.Addresses) }

// Attempt fixes what Attach will run, with the configuration of this moment.
// Nothing has happened yet; the caller makes the record durable, and from then
// on Detach can undo whatever Attach gets to, also after a crash. It returns
// ErrNotReady when there is no configuration or a plugin is missing, and
// ErrInvalid when the pod cannot be described to a plugin.
func (n *Network) Attempt(pod Pod) (*Attachment, error) {
	s := n.state.Load()
	if s.conf == nil {
		return nil, s.ready(n.confDir)
	}
	list := s.conf.list
	if err := n.usable(s.conf); err != nil { // asked anew: a plugin may have come or gone
		return nil, fmt.Errorf("%w: network %q: %w", ErrNotReady, list.Name, err)
	}
	if err := pod.check(); err != nil {
		return nil, err
	}
	caps, err := pod.capabilities()
	if err != nil {
		return nil, err
	}
	who := byExec
	if s.conf.plan != nil {
		who = byNative
	}
	return &Attachment{
		Who: who, PodID: pod.ID, Network: list.Name, IfName: podIface, NetNS: pod.NetNS,
		Config: slices.Clone(list.Bytes), Args: pod.args(), Capabilities: caps,
	}, nil
}

// open turns the record back into what libcni takes. The record may come from
// disk and is checked as a configuration file is.
func (a *Attachment) open() (*libcni.NetworkConfigList, *libcni.RuntimeConf, error) {
	if a.Who != byExec && a.Who != byNative {
		return nil, nil, fmt.Errorf("network record of pod %q: %w: made by %q", a.PodID, ErrInvalid, a.Who)
	}
	list, err := libcni.NetworkConfFromBytes(a.Config)
	if err == nil {
		err = checkList(list)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("network record of pod %q: %w: %w", a.PodID, ErrInvalid, err)
	}
	caps := make(map[string]any, len(a.Capabilities))
	for k, v := range a.Capabilities {
		caps[k] = v
	}
	return list, &libcni.RuntimeConf{
		ContainerID: a.PodID, NetNS: a.NetNS, IfName: a.IfName, Args: a.Args, CapabilityArgs: caps,
	}, nil
}

// with returns the record completed by what ADD returned.
func (a *Attachment) with(result cnitypes.Result) (*Attachment, error) {
	full := *a
	raw, err := json.Marshal(result)
	if err != nil {
		return nil, err
	}
	full.Result = raw
	if full.Addresses, err = addresses(result, a.IfName); err != nil {
		return &full, err
	}
	return &full, nil
}
