package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"slipway/cni"
	"slipway/conf"
	"slipway/imagestore"
	"slipway/sandbox"
	"slipway/sandbox/cgroup"
	"slipway/sandbox/linux"
	"slipway/sandbox/program"
	"slipway/sandbox/seccomp"
	"slipway/server"
	"slipway/server/streaming"
)

// closeTime bounds the orderly end of the rooms.
const closeTime = 30 * time.Second

// sessionsTime of it is for exec, attach and port-forward: they are told to end
// and say goodbye to their clients.
const sessionsTime = 10 * time.Second

// rooms are the parts of the daemon, each knowing only those before it.
type rooms struct {
	images  *imagestore.Store
	network *cni.Network
	pods    *sandbox.Pods
	streams *streaming.Server
	server  *server.Server
}

// open builds the rooms from the configuration and finds again what runs.
// shown is the configuration as verbose Status tells it.
func open(ctx context.Context, c conf.Config, log *slog.Logger, shown func() any) (_ *rooms, err error) {
	r := &rooms{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	r.images, err = imagestore.Open(ctx, imagestore.Options{
		Root:        c.Root,
		RegistryDir: c.RegistryDir,
		Log:         log.With("room", "images"),
	})
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	r.network, err = cni.New(cni.Options{
		ConfDir:  c.CNIConfDir,
		BinDirs:  c.CNIBinDirs,
		CacheDir: filepath.Join(c.Root, "cni"),
		Native:   c.CNINative,
		Log:      log.With("room", "network"),
	})
	if err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	r.pods, err = openPods(ctx, c, r.images, r.network, log)
	if err != nil {
		return nil, fmt.Errorf("pods: %w", err)
	}
	if r.streams, err = streaming.Listen(streamOptions(c, log.With("room", "streams"))); err != nil {
		return nil, err
	}
	r.server = server.New(server.Options{
		Pods:     r.pods,
		Images:   r.images,
		Log:      log.With("room", "cri"),
		Streams:  r.streams,
		Version:  version,
		Config:   shown,
		Features: features(ctx, c.Root, log),
		Handlers: c.HandlerNames(),

		SystemdCgroups: r.pods.CgroupDriver() == cgroup.Systemd,
	})
	return r, nil
}

// features are what was tried of the kernel, and what is ours alone.
func features(ctx context.Context, root string, log *slog.Logger) server.Features {
	users := program.ProbeUsers(ctx, root)
	if users != nil {
		log.Warn("pods with a user namespace cannot be run", "error", users)
	}
	return server.Features{
		RecursiveReadOnlyMounts:  linux.RecursiveReadonly() == nil,
		UserNamespaces:           users == nil,
		SupplementalGroupsPolicy: true,
		MountOptions:             true, // each is an attribute of a mount, as read-only is
	}
}

// openPods asks the host what it offers and opens the owner of pods.
func openPods(ctx context.Context, c conf.Config, images *imagestore.Store, network *cni.Network, log *slog.Logger) (*sandbox.Pods, error) {
	keeper, err := keeperBinary()
	if err != nil {
		return nil, err
	}
	host, err := sandbox.ProbeHost(ulimits(c.DefaultUlimits))
	if err != nil {
		return nil, err
	}
	if host.AppArmor, err = sandbox.ProbeAppArmor(ctx); err != nil {
		log.Warn("containers that ask for the default AppArmor profile are refused, and those that ask for none get none", "error", err)
	}
	noFile := &[2]uint64{}
	if noFile[0], noFile[1], err = linux.FoundNoFile(); err != nil { // traced ourselves, or tracing is forbidden
		log.Warn("containers without a limit of open files get the daemon's own, soft as high as hard", "error", err)
		noFile = nil
	}
	cgroups, parent, err := openCgroups(c, log)
	if err != nil {
		return nil, err
	}
	return sandbox.Open(ctx, sandbox.Options{
		Root:                c.Root,
		State:               c.State,
		NetNSDir:            c.NetNSDir,
		CgroupParent:        parent,
		KeeperBinary:        keeper,
		RejectAbsentSources: c.AbsentMountSources,
		CDIDirs:             c.CDISpecDirs,
		Handlers:            handlers(c.Handlers),
		Host:                host,
		NoFile:              noFile,
		Images:              images,
		Network:             network,
		Cgroups:             cgroups,
		Profiles:            &seccomp.Cache{},
		Log:                 log.With("room", "pods"),
	})
}

// openCgroups finds the hierarchies and the driver. parent is where pods go for
// which the client names no place; the default has both syntaxes.
func openCgroups(c conf.Config, log *slog.Logger) (_ *cgroup.Tree, parent string, err error) {
	t, err := cgroup.New(cgroup.Options{Driver: c.CgroupDriver, Log: log.With("room", "cgroups")})
	if err != nil {
		return nil, "", err
	}
	parent = c.CgroupParent
	if t.Driver() == cgroup.Systemd && parent == conf.Default().CgroupParent {
		parent = cgroup.SliceOf(parent)
	}
	if err := cgroup.CheckParent(t.Driver(), parent); err != nil {
		return nil, "", errors.Join(fmt.Errorf("cgroup_parent: %w", err), t.Close())
	}
	log.Info("cgroups", "version", t.Version(), "driver", t.Driver(), "parent", parent)
	return t, parent, nil
}

// close ends the rooms in the opposite order. Containers go on.
func (r *rooms) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	var errs []error
	if r.streams != nil {
		sessions, cancel := context.WithTimeout(ctx, sessionsTime)
		errs = append(errs, r.streams.Close(sessions))
		cancel()
	}
	if r.pods != nil {
		errs = append(errs, r.pods.Close(ctx))
	}
	if r.network != nil {
		errs = append(errs, r.network.Close())
	}
	if r.images != nil {
		errs = append(errs, r.images.Close())
	}
	return errors.Join(errs...)
}

// streamOptions say where exec, attach and port-forward are served.
func streamOptions(c conf.Config, log *slog.Logger) streaming.Options {
	return streaming.Options{
		Address:  c.StreamAddress,
		Cert:     c.StreamTLSCert,
		Key:      c.StreamTLSKey,
		Idle:     time.Duration(c.StreamIdleTimeout),
		Open:     time.Duration(c.StreamOpenTimeout),
		Max:      c.StreamMax,
		MaxOwner: c.StreamMaxPod,
		Log:      log,
	}
}

// handlers are the named configurations that RuntimeClasses choose.
func handlers(named map[string]*conf.Handler) map[string]sandbox.Handler {
	all := map[string]sandbox.Handler{}
	for name, h := range named {
		all[name] = sandbox.Handler{
			WithoutDevices:  h.PrivilegedWithoutHostDevices,
			AnyDevice:       h.PrivilegedAllDevicesAllowed,
			SeccompProfile:  h.SeccompProfile,
			AppArmorProfile: h.AppArmorProfile,
			Ulimits:         ulimits(h.DefaultUlimits),
		}
	}
	return all
}

// keeperBinary finds the other program of slipway: it lies beside this one.
func keeperBinary() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), "slipway-keeper")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("slipway-keeper must lie beside slipway: %w", err)
	}
	return path, nil
}

// ulimits of none is empty, of nil is nil: nothing was said.
func ulimits(limits []conf.Ulimit) []specs.POSIXRlimit {
	if limits == nil {
		return nil
	}
	out := []specs.POSIXRlimit{}
	for _, l := range limits {
		out = append(out, specs.POSIXRlimit{Type: l.Type(), Soft: l.Soft, Hard: l.Hard})
	}
	return out
}
