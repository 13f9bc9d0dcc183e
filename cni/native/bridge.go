package native

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	cnitypes "github.com/containernetworking/cni/pkg/types"
)

const defaultBridge = "cni0"

// bridge is the plugin of that name, with host-local as its address manager.
type bridge struct {
	network string
	bridgeConf
	ipam *hostLocal
}

// bridgeConf are the keys of the plugin. The ones after the blank line are not
// done here; only the value that asks for nothing is taken.
type bridgeConf struct {
	Bridge           string          `json:"bridge"`
	IsGateway        bool            `json:"isGateway"`
	IsDefaultGateway bool            `json:"isDefaultGateway"`
	ForceAddress     bool            `json:"forceAddress"`
	IPMasq           bool            `json:"ipMasq"`
	IPMasqBackend    *string         `json:"ipMasqBackend"`
	MTU              int             `json:"mtu"`
	HairpinMode      bool            `json:"hairpinMode"`
	PromiscMode      bool            `json:"promiscMode"`
	EnableDAD        bool            `json:"enabledad"`
	PortIsolation    bool            `json:"portIsolation"`
	DNS              cnitypes.DNS    `json:"dns"`
	IPAM             json.RawMessage `json:"ipam"`

	Vlan                      int               `json:"vlan"`
	VlanTrunk                 []json.RawMessage `json:"vlanTrunk"`
	PreserveDefaultVlan       bool              `json:"preserveDefaultVlan"` // says nothing without a vlan
	MacSpoofChk               bool              `json:"macspoofchk"`
	DisableContainerInterface bool              `json:"disableContainerInterface"`
}

func bridgeKeys() []string {
	return slices.Concat(everyPlugin, []string{
		"bridge", "isGateway", "isDefaultGateway", "forceAddress", "ipMasq", "ipMasqBackend", "mtu",
		"hairpinMode", "promiscMode", "enabledad", "portIsolation", "ipam",
		"vlan", "vlanTrunk", "preserveDefaultVlan", "macspoofchk", "disableContainerInterface",
	})
}

func parseBridge(network string, data []byte) (*bridge, error) {
	b := &bridge{network: network, bridgeConf: bridgeConf{Bridge: defaultBridge}}
	if err := decode(`plugin "bridge"`, data, bridgeKeys(), &b.bridgeConf); err != nil {
		return nil, err
	}
	var ipam struct {
		Type string `json:"type"`
	}
	if len(b.IPAM) > 0 {
		if err := json.Unmarshal(b.IPAM, &ipam); err != nil {
			return nil, err
		}
	}
	if err := b.refuse(ipam.Type); err != nil {
		return nil, err
	}
	if b.HairpinMode && b.PromiscMode {
		return nil, errors.New("hairpinMode and promiscMode exclude each other")
	}
	b.IsGateway = b.IsGateway || b.IsDefaultGateway
	var err error
	b.ipam, err = parseHostLocal(network, b.IPAM)
	return b, err
}

// refuse names the first thing that is left to the plugin program.
func (b *bridge) refuse(ipam string) error {
	for _, f := range []struct {
		what string
		asks bool
	}{
		{"vlan", b.Vlan != 0},
		{"vlanTrunk", b.VlanTrunk != nil},
		{"macspoofchk", b.MacSpoofChk},
		{"disableContainerInterface", b.DisableContainerInterface},
		{fmt.Sprintf("ipam %q", ipam), ipam != "host-local"},
		{"ipMasqBackend other than nftables", b.IPMasqBackend != nil && *b.IPMasqBackend != "nftables"},
	} {
		if f.asks {
			return fmt.Errorf(`%w: plugin "bridge": %s`, ErrUnsupported, f.what)
		}
	}
	return nil
}

func (*bridge) name() string { return "bridge" }
