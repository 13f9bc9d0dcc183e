package native

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/containernetworking/cni/libcni"
)

// Plan is a list of plugins, understood. It is never changed.
type Plan struct {
	name    string
	version string
	steps   []step
	rules   bool  // some step makes nf_tables rules
	invalid error // the list is ours to run, and no pod can be attached with it
}

// versions are the ones whose results have the form that the steps make.
var versions = []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// Parse returns the plan of a list, or an error that is ErrUnsupported and
// names the plugin and key that keep it from being one. Values that no plugin
// would take (overlapping ranges) are not such an error: Err tells them.
func Parse(list *libcni.NetworkConfigList) (*Plan, error) {
	if !slices.Contains(versions, list.CNIVersion) {
		return nil, fmt.Errorf("%w: cniVersion %q", ErrUnsupported, list.CNIVersion)
	}
	p := &Plan{name: list.Name, version: list.CNIVersion}
	for _, conf := range list.Plugins {
		s, err := parseStep(conf.Network.Type, list.Name, conf.Bytes)
		if errors.Is(err, ErrUnsupported) {
			return nil, err
		}
		if err != nil {
			p.invalid = errors.Join(p.invalid, fmt.Errorf("plugin %q: %w", conf.Network.Type, err))
			continue
		}
		switch s := s.(type) {
		case *bridge:
			p.rules = p.rules || s.IPMasq
		case *portmap:
			p.rules = true
		}
		p.steps = append(p.steps, s)
	}
	if p.invalid == nil && len(p.steps) > 0 && p.steps[0].name() == "portmap" {
		p.invalid = errors.New(`plugin "portmap": must follow a plugin that gives an address`)
	}
	return p, nil
}

func parseStep(kind, network string, data []byte) (step, error) {
	switch kind {
	case "bridge":
		return parseBridge(network, data)
	case "portmap":
		return parsePortmap(data)
	case "loopback":
		return parseLoopback(data)
	}
	return nil, fmt.Errorf("%w: plugin %q", ErrUnsupported, kind)
}

// Err says why no pod can be attached with this plan; nil when one can.
func (p *Plan) Err() error { return p.invalid }

// NeedsRules tells whether the plan makes nf_tables rules. See HasRules.
func (p *Plan) NeedsRules() bool { return p.rules }

// everyPlugin are the keys that the specification gives to every plugin.
// "args" is not among them: it asks for addresses.
var everyPlugin = []string{"type", "name", "cniVersion", "capabilities", "dns", "disableCheck"}

// decode reads a plugin's configuration that has no keys but the known ones.
// Their case counts, unlike for the plugins: a key in another case is not
// taken.
func decode(what string, data []byte, known []string, into any) error {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil {
		return err
	}
	for k := range keys {
		if !slices.Contains(known, k) {
			return fmt.Errorf("%w: %s: key %q", ErrUnsupported, what, k)
		}
	}
	return json.Unmarshal(data, into)
}
