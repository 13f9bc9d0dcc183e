package cni

import (
	"context"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/libcni"
	cnitypes "github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/types/create"

	"slipway/cni/native"
)

// choose decides once for a configuration whether its plugins are run or their
// work is done in process: the whole list, or none of it.
func (n *Network) choose(c *config) {
	if !n.useNative {
		c.why = errors.New("switched off")
		return
	}
	plan, err := native.Parse(c.list)
	if err == nil && plan.NeedsRules() {
		err = n.native.HasRules()
	}
	if err != nil {
		c.why = err
		return
	}
	c.plan = plan
}

// usable returns nil when pods can be attached with the configuration.
func (n *Network) usable(c *config) error {
	if c.plan != nil {
		return c.plan.Err()
	}
	return n.findAll(c.list)
}

// addNative parses the attempt's own configuration: the one in use may be
// another by now.
func (n *Network) addNative(ctx context.Context, a *Attachment, list *libcni.NetworkConfigList) (cnitypes.Result, error) {
	plan, err := native.Parse(list)
	if err != nil {
		return nil, err
	}
	return n.native.Add(ctx, plan, a.nativePod(a.NetNS))
}

// delNative undoes addNative. netns is empty when the namespace is gone.
func (n *Network) delNative(ctx context.Context, a *Attachment, list *libcni.NetworkConfigList, netns string) error {
	plan, err := native.Parse(list)
	if err != nil {
		return fmt.Errorf("network record of pod %q: %w: %w", a.PodID, ErrInvalid, err)
	}
	var prev cnitypes.Result
	if len(a.Result) > 0 {
		if prev, err = create.CreateFromBytes(a.Result); err != nil {
			n.log.Warn("network result unreadable, DEL goes without", "pod", a.PodID, "error", err)
			prev = nil
		}
	}
	if err := n.native.Del(ctx, plan, a.nativePod(netns), prev); err != nil {
		return fmt.Errorf("detach from network %q: %w", a.Network, err)
	}
	return nil
}

func (a *Attachment) nativePod(netns string) native.Pod {
	return native.Pod{ID: a.PodID, NetNS: netns, IfName: a.IfName, Capabilities: a.Capabilities}
}
