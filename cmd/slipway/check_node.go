package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"slipway/conf"
)

// diskItems are the directories: on which file systems, with how much room, and
// what lies in quarantine.
func (h host) diskItems(ctx context.Context, c conf.Config) []item {
	const area = "directories"
	var items []item
	for _, d := range []struct{ key, path string }{{"root", c.Root}, {"state", c.State}} {
		i := found(area, d.key, d.path)
		disk, err := h.disk(h.nearest(d.path))
		switch {
		case err != nil:
			i.State, i.Detail = stateMissing, fmt.Sprintf("%s: %v", d.path, err)
		case disk.Readonly:
			i.State, i.Detail, i.Do = stateMissing, d.path+": the file system is read-only", "mount it read-write, or choose another "+d.key
		default:
			i.Detail += fmt.Sprintf(" (%s, %d of %d GiB free", disk.Type, disk.Free>>30, disk.Total>>30)
			if disk.Nodes > 0 {
				i.Detail += fmt.Sprintf(", %d%% of inodes", disk.FreeInodes*100/disk.Nodes)
			}
			i.Detail += ")"
			if !h.exists(d.path) {
				i.Detail += ", not made yet"
			}
			if d.key == "root" && disk.Type == "tmpfs" {
				i.State, i.Effect, i.Do = stateLimited, "images and the records of pods are gone after a reboot, and use memory", "put root on a disk"
			}
			if disk.Free < 1<<30 && d.key == "root" {
				i.State, i.Effect, i.Do = stateLimited, "images need room: pulls will fail soon", "make room, or choose another root"
			}
		}
		items = append(items, i)
	}
	at := h.nearest(c.Root)
	items = append(items,
		tried(area, "overlay on root", h.overlay(at), stateMissing, "").help("choose a root on ext4 or xfs: another overlay, nfs and the like cannot carry one"),
		tried(area, "user namespaces", h.users(ctx, at), stateLimited, "pods with hostUsers: false are refused"),
		tried(area, "many layers", h.oneByOne(), stateLimited, "Linux 6.8; without it roots of many layers are mounted in a slower way"),
	)
	return append(items, h.quarantine(c)...)
}

// nearest is the path itself, or what there is of it.
func (h host) nearest(path string) string {
	for !h.exists(path) && path != "/" {
		path = filepath.Dir(path)
	}
	return h.root + path
}

// quarantine tells of records and images that could not be understood.
func (h host) quarantine(c conf.Config) []item {
	const area = "directories"
	var items []item
	for _, dir := range []string{filepath.Join(c.Root, "quarantine"), filepath.Join(c.Root, "images", "quarantine")} {
		names, err := h.names(dir)
		switch {
		case err != nil:
			items = append(items, tried(area, "quarantine", err, stateLimited, ""))
		case len(names) > 0:
			shown := strings.Join(names[:min(len(names), 5)], " ")
			if len(names) > 5 {
				shown += " ..."
			}
			items = append(items, item{
				Area: area, Name: "quarantine", State: stateLimited,
				Detail: fmt.Sprintf("%d in %s: %s", len(names), dir, shown),
				Effect: "these could not be understood, and what they described was ended",
				Do:     "the daemon's log says why; remove them when you have looked at them",
			})
		}
	}
	if len(items) == 0 {
		items = append(items, found(area, "quarantine", "empty"))
	}
	return items
}

// confinement is what keeps containers in beside namespaces.
func (h host) confinement() []item {
	const area = "confinement"
	var items []item
	apparmor := absent(area, "AppArmor", "not in this kernel, or off")
	if strings.HasPrefix(h.read("/sys/module/apparmor/parameters/enabled"), "Y") {
		parser, err := h.tool("apparmor_parser")
		if err != nil {
			apparmor = item{
				Area: area, Name: "AppArmor", State: stateLimited, Detail: "on, but " + err.Error(),
				Effect: "containers that ask for RuntimeDefault are refused, and those that ask for nothing are not confined by it",
				Do:     "install the package apparmor, and restart slipway",
			}
		} else {
			apparmor = found(area, "AppArmor", "on, profiles are loaded by "+parser)
		}
	}
	items = append(items, apparmor)
	selinux := absent(area, "SELinux", "not in this kernel, or off")
	if mode := h.read("/sys/fs/selinux/enforce"); mode != "" {
		selinux = item{Area: area, Name: "SELinux", State: stateLimited, Detail: "on", Effect: "slipway sets no labels: pods with seLinuxOptions are refused"}
	}
	return append(items, selinux)
}

// networkItems are what pods on a network of their own need.
func (h host) networkItems(ctx context.Context, c conf.Config) []item {
	const area = "network"
	n, err := h.network(ctx, c)
	network := tried(area, "configuration", err, stateLimited, "only pods on the host's network can run; the node is not ready").
		help("install a network: a configuration in " + c.CNIConfDir + ", its plugins in " + strings.Join(c.CNIBinDirs, " or "))
	if err == nil {
		network.Detail = fmt.Sprintf("%q of %s, version %s", n.Network, n.File, n.CNIVersion)
	}
	items := []item{network}
	for _, bad := range n.Bad {
		items = append(items, item{Area: area, Name: "bad file", State: stateLimited, Detail: bad, Effect: "it is passed over", Do: "correct or remove it"})
	}
	count := 0
	for _, dir := range c.CNIBinDirs {
		names, _ := h.names(dir)
		count += len(names)
	}
	items = append(items, found(area, "plugins", fmt.Sprintf("%d in %s", count, strings.Join(c.CNIBinDirs, ", "))),
		tried(area, "nf_tables", h.nftables(), stateLimited, "plugins that use nftables fail, and so do host ports through it").help("modprobe nf_tables"))
	var tools []string
	for _, name := range []string{"nft", "iptables"} {
		if _, err := h.tool(name); err == nil {
			tools = append(tools, name)
		}
	}
	firewall := found(area, "tools", strings.Join(tools, ", "))
	if len(tools) == 0 {
		firewall = item{Area: area, Name: "tools", State: stateLimited, Detail: "neither nft nor iptables", Effect: "the plugins portmap, firewall and bridge with ipMasq run one of them and fail", Do: "install the package nftables or iptables"}
	}
	return append(items, firewall)
}

// extras are worth knowing, and no pod depends on them.
func (h host) extras(c conf.Config) []item {
	const area = "more"
	hosts, _ := h.names(c.RegistryDir)
	registry := found(area, "registries", fmt.Sprintf("%s: %d configured", c.RegistryDir, len(hosts)))
	if len(hosts) == 0 {
		registry.Detail = c.RegistryDir + ": none configured, images come from where their names say"
	}
	swap := absent(area, "swap", "none")
	if n := strings.Count(h.read("/proc/swaps"), "\n"); n > 0 {
		swap = found(area, "swap", fmt.Sprintf("%d in use", n))
		if !h.exists("/sys/fs/cgroup/cgroup.controllers") && !h.exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes") {
			swap = item{Area: area, Name: "swap", State: stateLimited, Detail: swap.Detail, Effect: "this kernel cannot limit the swap of a container", Do: "boot with swapaccount=1, or without swap"}
		}
	}
	pages, _ := h.names("/sys/kernel/mm/hugepages")
	var sizes []string
	for _, p := range pages {
		sizes = append(sizes, fmt.Sprintf("%s (%s)", strings.TrimPrefix(p, "hugepages-"), h.read("/sys/kernel/mm/hugepages/"+p+"/nr_hugepages")))
	}
	huge := found(area, "huge pages", "none")
	if len(sizes) > 0 {
		huge.Detail = strings.Join(sizes, ", ")
	}
	devices := 0
	for _, dir := range c.CDISpecDirs {
		names, _ := h.names(dir)
		devices += len(names)
	}
	cdi := found(area, "CDI devices", fmt.Sprintf("%d files in %s", devices, strings.Join(c.CDISpecDirs, ", ")))
	handlers := found(area, "runtime handlers", "the default alone")
	if names := c.HandlerNames(); len(names) > 0 {
		handlers.Detail = strings.Join(names, ", ")
	}
	return []item{registry, cdi, handlers, swap, huge}
}
