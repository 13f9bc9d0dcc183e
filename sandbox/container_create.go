package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/imagestore"
	"slipway/oci"
	"slipway/sandbox/program"
)

// CreateContainer makes a container in a ready pod: its root file system is
// described and its spec written down; no process is made. A repeated request
// joins the one that runs, or gets the id of what it made.
//
// Errors: ErrNotFound (the pod), imagestore.ErrNotFound (the image),
// ErrInvalid, ErrState (the pod is not ready), ErrExists.
func (p *Pods) CreateContainer(ctx context.Context, podID string, cfg *cri.ContainerConfig, podCfg *cri.PodSandboxConfig) (string, error) {
	s, err := p.pod(podID)
	if err != nil {
		return "", err
	}
	if err := oci.CheckContainer(cfg, s.config); err != nil {
		return "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	id := newID()
	c := &container{id: id, pod: s, dir: p.containerDir(s.id, id), config: cfg, ended: make(chan struct{})}
	m := &making{what: c.name(), id: id, config: cfg, fresh: func() bool {
		snap := c.snapshot.Load()
		return snap != nil && snap.State == Created
	}}
	return p.make(ctx, containerKey(s.id, cfg.GetMetadata()), m, createLimit, func(ctx context.Context) error {
		return p.createContainer(ctx, c)
	})
}

func (p *Pods) createContainer(ctx context.Context, c *container) (err error) {
	c.pod.op.RLock()
	defer c.pod.op.RUnlock()
	u := newUndo()
	defer func() {
		u.run(ctx, &err)
		if err != nil {
			err = fmt.Errorf("create %s: %w", c.name(), err)
			p.leftovers.left() // if something could not be undone
		}
	}()
	if snap := c.pod.snapshot.Load(); !snap.Ready {
		return fmt.Errorf("%s is not ready: %w", podName(c.pod.config.GetMetadata()), ErrState)
	}
	img, err := p.o.Images.Get(c.config.GetImage().GetImage())
	if err != nil {
		return err
	}
	if err := p.makeSources(ctx, c.config); err != nil {
		return err
	}
	u.add(func(ctx context.Context) error { return p.o.Images.RemoveRoot(ctx, c.id) })
	root, err := p.o.Images.NewRoot(ctx, img.ID, c.id)
	if err != nil {
		return err
	}
	if err := p.useImages(ctx, c); err != nil {
		return err
	}
	u.add(func(context.Context) error { return os.RemoveAll(c.dir) })
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		return err
	}
	spec, err := p.specOf(ctx, c, img, programRoot(root))
	if err != nil {
		return err
	}
	if err := p.recordContainer(c, img, spec); err != nil {
		return err
	}
	c.decided = spec
	p.publishContainer(c, c.describe(), EventCreated)
	return nil
}

// specOf decides everything about a container's process.
func (p *Pods) specOf(ctx context.Context, c *container, img imagestore.Image, root program.Root) (*specs.Spec, error) {
	user, err := p.lookupUser(c.config, img)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	c.record.User = userOf(user)
	volumes, err := makeVolumes(ctx, c, img, root)
	if err != nil {
		return nil, err
	}
	profile, err := readProfile(c.config)
	if err != nil {
		return nil, err
	}
	namespaces, err := p.namespacesOf(c)
	if err != nil {
		return nil, err
	}
	devices, err := p.devicesOf(c.config)
	if err != nil {
		return nil, err
	}
	host, err := p.hostOf(c.pod)
	if err != nil {
		return nil, err
	}
	hostname := c.pod.hostname()
	if c.pod.hostNetwork() {
		if hostname, err = os.Hostname(); err != nil {
			return nil, err
		}
	}
	spec, err := oci.Container(oci.ContainerInput{
		ID: c.id, PodID: c.pod.id,
		Pod: c.pod.config, Container: c.config,
		Image: img.Config.Config, User: user, Host: host,
		Hostname:    hostname,
		CgroupsPath: p.cgroupPath(c.pod, c.id),
		Namespaces:  namespaces,
		Files:       p.filesOf(c.pod),
		Volumes:     volumes,
		Seccomp:     profile,
		CDI:         devices,
	})
	if rro := new(oci.RROUnsupportedError); errors.As(err, &rro) {
		return nil, fmt.Errorf("%w: mount %q", ErrRecursiveReadonly, rro.Destination)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return spec, limitError(p.o.Cgroups.Check(spec.Linux.Resources))
}

// filesOf lists what of the pod appears in each of its containers.
func (p *Pods) filesOf(s *pod) []oci.BindFile {
	shm := p.shmPath(s.id)
	if s.hostIPC() {
		shm = "/dev/shm"
	}
	return []oci.BindFile{
		{Source: p.hostsPath(s.id), Destination: "/etc/hosts"},
		{Source: p.hostnamePath(s.id), Destination: "/etc/hostname"},
		{Source: p.resolvPath(s.id), Destination: "/etc/resolv.conf"},
		{Source: shm, Destination: "/dev/shm"},
	}
}

// namespacesOf says which namespaces a container gets: the pod's by path, new
// ones by "", the host's not at all.
func (p *Pods) namespacesOf(c *container) (map[specs.LinuxNamespaceType]string, error) {
	ns := map[specs.LinuxNamespaceType]string{
		specs.MountNamespace:  "",
		specs.CgroupNamespace: "",
	}
	if c.config.GetLinux().GetSecurityContext().GetPrivileged() && p.o.Cgroups.Version() == "v2" {
		delete(ns, specs.CgroupNamespace) // it sees the host's hierarchy; on v1 there are a dozen, and it sees its own
	}
	if !c.pod.hostNetwork() {
		ns[specs.NetworkNamespace] = p.netnsPath(c.pod.id)
		ns[specs.UTSNamespace] = heldPath(c.pod.id, specs.UTSNamespace)
	}
	if !c.pod.hostIPC() {
		ns[specs.IPCNamespace] = heldPath(c.pod.id, specs.IPCNamespace)
	}
	switch o := c.options(); o.GetPid() {
	case cri.NamespaceMode_CONTAINER:
		ns[specs.PIDNamespace] = ""
	case cri.NamespaceMode_POD:
		ns[specs.PIDNamespace] = heldPath(c.pod.id, specs.PIDNamespace)
	case cri.NamespaceMode_TARGET:
		t, err := p.container(o.GetTargetId())
		if err != nil {
			return nil, fmt.Errorf("target of the PID namespace: %w", err)
		}
		if t.pod != c.pod {
			return nil, fmt.Errorf("target %q of the PID namespace is in another pod: %w", t.id, ErrInvalid)
		}
		snap := t.snapshot.Load()
		if snap.State != Running {
			return nil, fmt.Errorf("target %q of the PID namespace does not run: %w", t.id, ErrState)
		}
		ns[specs.PIDNamespace] = "/proc/" + strconv.Itoa(snap.Pid) + "/ns/pid"
	case cri.NamespaceMode_NODE: // the host's
	}
	return ns, nil
}

// heldPath stands in a spec for a namespace that has no path: it is held by
// fds in the daemon and the keeper.
func heldPath(pod string, kind specs.LinuxNamespaceType) string {
	return "slipway:" + pod + "/" + string(kind)
}

// maxPasswd bounds what is read of an image's passwd and group files, in bytes.
const maxPasswd = 1 << 20

func (p *Pods) lookupUser(cfg *cri.ContainerConfig, img imagestore.Image) (oci.User, error) {
	req, err := oci.UserOf(cfg, img.Config.Config)
	if err != nil {
		return oci.User{}, err
	}
	var files [2]io.Reader
	for i, path := range []string{"/etc/passwd", "/etc/group"} {
		b, err := p.o.Images.ReadFile(img.ID, path, maxPasswd)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return oci.User{}, fmt.Errorf("user %q: image's %s: %w", req.User, path, err)
		default:
			files[i] = bytes.NewReader(b)
		}
	}
	return oci.LookupUser(files[0], files[1], req)
}

// makeVolumes makes a directory for each VOLUME of the image that no mount
// covers, with a copy of what the image has there. They go with the container.
func makeVolumes(ctx context.Context, c *container, img imagestore.Image, root program.Root) ([]oci.Volume, error) {
	paths, err := oci.VolumePaths(img.Config.Config, c.config)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var volumes []oci.Volume
	for i, path := range paths {
		dir := filepath.Join(filepath.Dir(root.Upper), "volumes", strconv.Itoa(i)) // goes with the root
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if err := program.CopyUp(ctx, root, path, dir); err != nil {
			return nil, fmt.Errorf("copy the image's %s into its volume: %w", path, err)
		}
		volumes = append(volumes, oci.Volume{Source: dir, Destination: path})
	}
	return volumes, nil
}

// maxProfile bounds a Localhost seccomp profile, in bytes.
const maxProfile = 4 << 20

func readProfile(cfg *cri.ContainerConfig) ([]byte, error) {
	path, err := oci.SeccompFile(cfg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if path == "" {
		return nil, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w: %w", ErrInvalid, err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxProfile {
		return nil, fmt.Errorf("seccomp profile %q: not a regular file of at most %d bytes: %w", path, maxProfile, ErrInvalid)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w: %w", ErrInvalid, err)
	}
	return b, nil
}

func programRoot(r imagestore.Root) program.Root {
	return program.Root{Lower: r.Lower, Upper: r.Upper, Work: r.Work}
}

// recordContainer writes down what was decided: config.json first, since the
// container exists from container.json on.
func (p *Pods) recordContainer(c *container, img imagestore.Image, spec *specs.Spec) error {
	log, err := oci.LogPath(c.pod.config.GetLogDirectory(), c.config.GetLogPath())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	signal, err := oci.StopSignal(c.config, img.Config.Config)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	cfg, err := encodeMessage(c.config)
	if err != nil {
		return err
	}
	c.record.Version, c.record.ID, c.record.Pod = formatVersion, c.id, c.pod.id
	c.record.Created = time.Now().UnixNano()
	c.record.ImageID, c.record.ImageRef = img.ID, imageRef(img)
	c.record.LogPath, c.record.Config = log, cfg
	c.record.Signal = int32(oci.CRISignal(signal))
	c.record.SignalNumber = int(signal)
	if err := writeRecord(c.dir, specFile, spec); err != nil {
		return err
	}
	return writeRecord(c.dir, containerFile, c.record)
}

// imageRef is what the kubelet shows as the image's identity: a repo digest if
// it has one.
func imageRef(img imagestore.Image) string {
	if len(img.Digests) > 0 {
		return img.Digests[0]
	}
	return img.ID
}
