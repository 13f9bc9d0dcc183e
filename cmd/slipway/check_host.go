package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"slipway/cni"
	"slipway/conf"
	"slipway/sandbox/cgroup"
	"slipway/sandbox/linux"
	"slipway/sandbox/program"
)

// host is the machine that is looked at; tests have another.
type host struct {
	root       string // in front of every path that is read: "" is the machine itself
	uid        int
	path       []string // where tools are looked for
	kernel     func() []linux.Feature
	namespaces func() []linux.Feature
	caps       func() (linux.CapSet, error)
	lastCap    func() int
	overlay    func(dir string) error
	oneByOne   func() error
	users      func(ctx context.Context, dir string) error
	nftables   func() error
	readonly   func() error
	disk       func(path string) (linux.Disk, error)
	cgroups    func(ctx context.Context, driver string) (string, error)
	network    func(ctx context.Context, c conf.Config) (networkFound, error)
	keeper     func() (string, error)
	answers    func(socket string) error
}

func realHost() host {
	return host{
		uid:        os.Geteuid(),
		path:       append(filepath.SplitList(os.Getenv("PATH")), "/usr/local/sbin", "/usr/sbin", "/sbin"),
		kernel:     linux.Probe,
		namespaces: linux.ProbeNamespaces,
		caps:       linux.HeldCaps,
		lastCap:    linux.LastCap,
		overlay:    linux.ProbeOverlay,
		oneByOne:   linux.ProbeLayersOneByOne,
		users:      program.ProbeUsers,
		nftables:   linux.ProbeNftables,
		readonly:   linux.RecursiveReadonly,
		disk:       linux.DiskOf,
		cgroups:    tryCgroups,
		network:    tryNetwork,
		keeper:     keeperBinary,
		answers:    answers,
	}
}

// look goes through everything, in the order of the report.
func (h host) look(ctx context.Context, c conf.Config, r *report) {
	r.add(h.us(c)...)
	r.add(h.kernelItems()...)
	r.add(h.cgroupItems(ctx, c)...)
	r.add(h.diskItems(ctx, c)...)
	r.add(h.confinement()...)
	r.add(h.networkItems(ctx, c)...)
	r.add(h.extras(c)...)
}

// us: the program, its configuration, and who runs it.
func (h host) us(c conf.Config) []item {
	const area = "slipway"
	var items []item
	user := found(area, "user", "root")
	if h.uid != 0 {
		user = item{Area: area, Name: "user", State: stateMissing, Detail: "this is user " + strconv.Itoa(h.uid), Do: "be root, here and for slipway serve; much below follows from it"}
	}
	items = append(items, user, tried(area, "configuration", c.Validate(), stateMissing, "").help("correct it; slipway config check looks at it alone"))
	path, err := h.keeper()
	keeper := tried(area, "slipway-keeper", err, stateMissing, "").help("install both programs into one directory")
	if err == nil {
		keeper.Detail = path
	}
	daemon := found(area, "daemon", "answers on "+c.Socket())
	if err := h.answers(c.Socket()); err != nil {
		daemon = absent(area, "daemon", "none runs: "+err.Error())
	}
	return append(items, keeper, daemon)
}

func answers(socket string) error {
	conn, err := net.DialTimeout("unix", socket, 2*time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

// kernelItems are what the kernel can and whether we may.
func (h host) kernelItems() []item {
	const area = "kernel"
	var items []item
	for _, f := range slices.Concat(h.kernel(), h.namespaces()) {
		state := stateLimited
		if f.Needed {
			state = stateMissing
		}
		items = append(items, tried(area, f.Name, f.Err, state, f.Degraded))
	}
	items = append(items, tried(area, "recursive read-only", h.readonly(), stateLimited, "mounts with recursiveReadOnly are refused"))
	held, err := h.caps()
	if err != nil {
		return append(items, tried(area, "capabilities", err, stateMissing, ""))
	}
	var lacks []string
	for _, name := range linux.CapSet(1<<(h.lastCap()+1) - 1).Names() {
		if !slices.Contains(held.Names(), name) {
			lacks = append(lacks, name)
		}
	}
	all := found(area, "capabilities", "all")
	if len(lacks) > 0 {
		all = item{Area: area, Name: "capabilities", State: stateLimited, Detail: "without " + strings.Join(lacks, " "), Effect: "no container can have them, a privileged one neither"}
	}
	return append(items, all)
}

// cgroupItems are mode and controllers.
func (h host) cgroupItems(ctx context.Context, c conf.Config) []item {
	const area = "cgroups"
	mode, err := h.cgroups(ctx, c.CgroupDriver)
	if err != nil {
		return []item{tried(area, "groups", err, stateMissing, "").help("mount cgroup2 at /sys/fs/cgroup, writable")}
	}
	have := h.controllers()
	items := []item{found(area, "groups", mode+", a group was made and removed")}
	for _, want := range []struct{ names, effect string }{
		{"memory", "memory limits are refused, and pods without one have no OOM handling"},
		{"cpu", "CPU limits are refused"},
		{"cpuset", "CPU managers of the kubelet do not work"},
		{"pids", "limits of processes are refused"},
		{"io blkio", "there are no figures of disk use"},
		{"hugetlb", "limits of huge pages are refused"},
		{"freezer", "processes are killed one by one"},
	} {
		names := strings.Fields(want.names)
		i := slices.IndexFunc(names, func(n string) bool { return slices.Contains(have, n) })
		switch {
		case i >= 0:
			items = append(items, found(area, names[i], ""))
		case names[0] == "freezer" && strings.HasPrefix(mode, "v2"): // part of the tree itself
		default:
			items = append(items, item{Area: area, Name: names[0], State: stateLimited, Detail: "no such controller", Effect: want.effect})
		}
	}
	return items
}

// controllers of v2 are in one file; those of v1 by hierarchy, as we sit in them.
func (h host) controllers() []string {
	if text := h.read("/sys/fs/cgroup/cgroup.controllers"); text != "" {
		return strings.Fields(text)
	}
	var all []string
	for line := range strings.Lines(h.read("/proc/self/cgroup")) {
		if fields := strings.SplitN(line, ":", 3); len(fields) == 3 {
			all = append(all, strings.Split(fields[1], ",")...)
		}
	}
	return all
}

// tryCgroups makes a group and removes it.
func tryCgroups(ctx context.Context, driver string) (mode string, err error) {
	t, err := cgroup.New(cgroup.Options{Driver: driver})
	if err != nil {
		return "", err
	}
	defer t.Close()
	mode = t.Version() + ", driver " + t.Driver()
	if t.Driver() == cgroup.Systemd {
		return mode, nil // who makes groups is systemd, and there is no process to put into one
	}
	path := "/slipway-check-" + strconv.Itoa(os.Getpid())
	if t.Version() == "v2" { // Create would turn on controllers for all groups of the host
		dir := "/sys/fs/cgroup" + path
		if err := os.Mkdir(dir, 0o755); err != nil {
			return mode, err
		}
		return mode, os.Remove(dir)
	}
	g, err := t.Create(ctx, path, &specs.LinuxResources{})
	if err != nil {
		return mode, err
	}
	defer g.Close()
	return mode, g.Remove(context.WithoutCancel(ctx))
}

// networkFound is what the network room says of its configuration.
type networkFound struct {
	File, Network, CNIVersion string
	Bad                       []string
}

// tryNetwork loads the configuration as the daemon does. A network that is
// asked for its status gets a moment to answer.
func tryNetwork(ctx context.Context, c conf.Config) (f networkFound, err error) {
	cache, err := os.MkdirTemp("", "slipway-check-")
	if err != nil {
		return f, err
	}
	defer os.RemoveAll(cache)
	n, err := cni.New(cni.Options{ConfDir: c.CNIConfDir, BinDirs: c.CNIBinDirs, CacheDir: cache, Native: c.CNINative, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return f, err
	}
	defer n.Close()
	err = n.Status(ctx)
	for end := time.Now().Add(5 * time.Second); err != nil && time.Now().Before(end); err = n.Status(ctx) {
		if text, _ := json.Marshal(n.Config()); json.Unmarshal(text, &f) == nil && f.File == "" {
			break // there is nothing to ask
		}
		time.Sleep(100 * time.Millisecond)
	}
	text, e := json.Marshal(n.Config())
	if e == nil {
		e = json.Unmarshal(text, &f)
	}
	return f, errors.Join(err, e)
}

// read gives a small file's text, "" when it cannot be read.
func (h host) read(path string) string {
	b, err := os.ReadFile(h.root + path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// exists looks for a path of the host.
func (h host) exists(path string) bool {
	_, err := os.Stat(h.root + path)
	return err == nil
}

// names lists a directory of the host; none when there is no such.
func (h host) names(dir string) ([]string, error) {
	entries, err := os.ReadDir(h.root + dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// tool finds a program.
func (h host) tool(name string) (string, error) {
	for _, dir := range h.path {
		p := filepath.Join(dir, name)
		if info, err := os.Stat(h.root + p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("there is no %s", name)
}
