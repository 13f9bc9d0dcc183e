package cni

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	cnitypes "github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/containernetworking/cni/pkg/version"
)

// Detach runs DEL for a record, complete or attempt, in the reverse order of
// the plugins, and stops at the first that fails: a later one may only undo
// what an earlier one no longer uses (an address must not be given to another
// pod while host ports still lead to it). An error means that the pod still
// holds something; the caller calls again. Detaching twice is no error.
// It takes no longer than Options.Timeout.
func (n *Network) Detach(ctx context.Context, pod Pod, a *Attachment) error {
	if pod.ID != a.PodID {
		return fmt.Errorf("detach pod %q: %w: the record is of pod %q", pod.ID, ErrInvalid, a.PodID)
	}
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	return n.del(ctx, a)
}

func (n *Network) del(ctx context.Context, a *Attachment) error {
	list, rt, err := a.open()
	if err != nil {
		return err
	}
	if !isNamespace(rt.NetNS) {
		rt.NetNS = "" // the plugins' word for gone
	}
	if a.Who == byNative {
		return n.delNative(ctx, a, list, rt.NetNS)
	}
	same := map[string]any{"name": list.Name, "cniVersion": list.CNIVersion}
	if prev := n.previous(a, list, rt); prev != nil {
		same["prevResult"] = prev
	}
	for i := len(list.Plugins) - 1; i >= 0; i-- {
		if err := n.delOne(ctx, list.Plugins[i], same, rt); err != nil {
			return fmt.Errorf("detach from network %q: plugin %q: %w", list.Name, list.Plugins[i].Network.Type, err)
		}
	}
	// The cache is a spare copy; what is left of it costs a few bytes.
	if err := os.RemoveAll(filepath.Join(n.cacheDir, a.PodID)); err != nil {
		n.log.Warn("network cache not removed", "pod", a.PodID, "error", err)
	}
	return nil
}

// delOne runs DEL of one plugin. libcni's own loop is not used because it
// takes the previous result from its cache alone, and a torn cache file would
// make it go without.
func (n *Network) delOne(ctx context.Context, plugin *libcni.PluginConfig, same map[string]any, rt *libcni.RuntimeConf) error {
	values := maps.Clone(same)
	if caps := wanted(plugin, rt.CapabilityArgs); len(caps) > 0 {
		values["runtimeConfig"] = caps
	}
	conf, err := libcni.InjectConf(plugin, values)
	if err != nil {
		return err
	}
	path, err := n.run.FindInPath(plugin.Network.Type, n.binDirs)
	if err != nil {
		return err
	}
	return invoke.ExecPluginWithoutResult(ctx, path, conf.Bytes, &invoke.Args{
		Command: "DEL", ContainerID: rt.ContainerID, NetNS: rt.NetNS, PluginArgs: rt.Args,
		IfName: rt.IfName, Path: strings.Join(n.binDirs, ":"),
	}, n.run)
}

// wanted are the values whose names the plugin's configuration asks for.
func wanted(plugin *libcni.PluginConfig, values map[string]any) map[string]any {
	out := map[string]any{}
	for name, asked := range plugin.Network.Capabilities {
		if v, ok := values[name]; ok && asked {
			out[name] = v
		}
	}
	return out
}

// previous is the result that DEL is told. The record's own counts; the cache
// has one that the record lacks when the daemon died between ADD and the
// record. None, or one that cannot be read, is passed as none.
func (n *Network) previous(a *Attachment, list *libcni.NetworkConfigList, rt *libcni.RuntimeConf) cnitypes.Result {
	if ok, err := version.GreaterThanOrEqualTo(list.CNIVersion, "0.4.0"); err != nil || !ok {
		return nil // DEL learned of it in 0.4.0
	}
	var prev cnitypes.Result
	var err error
	if len(a.Result) > 0 {
		if prev, err = create.CreateFromBytes(a.Result); err == nil {
			prev, err = prev.GetAsVersion(list.CNIVersion)
		}
	} else {
		prev, err = n.calls(a.PodID).GetNetworkListCachedResult(list, rt)
	}
	if err != nil {
		n.log.Warn("network result unreadable, DEL goes without", "pod", a.PodID, "error", err)
		return nil
	}
	return prev
}

// File system magic numbers of a namespace: its own, and /proc for kernels'
// links of it.
const (
	nsfsMagic = 0x6e736673
	procMagic = 0x9fa0
)

// isNamespace tells whether path still is a pinned namespace. After a reboot
// or an unmount the file may be there and be nothing.
func isNamespace(path string) bool {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return false
	}
	return st.Type == nsfsMagic || st.Type == procMagic
}
