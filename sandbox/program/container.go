package program

import (
	"context"
	"fmt"
	"path"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

// container is a Container being built.
type container struct {
	*Container
	a     *assembly
	id    *identity
	ns    *namespaces
	users *users // nil: the host's
	proc  int    // the daemon's /proc
	root  int    // detached
	tree  *linux.Tree
	dev   int // our tmpfs for /dev, -1 = a volume lies there

	// mounts are the steps that attach everything below the root, in order;
	// they are added when their turn comes (order.go).
	mounts  []func()
	targets map[string]slot // what the child itself has mounted: "proc", "sys"
	before  func()          // steps before the root is attached: the visit to PID 1
	visited slot            // what they brought: its procfs
	master  int
	slave   int
	devpts  int
}

// Build opens and checks every mount source, mounts the root detached, makes
// /dev, resolves every target by descriptor, and writes the program. Errors:
// ErrInvalid, *SourceError, linux.ErrSymlink for a hostile root, ErrPropagation,
// or what the system said, with the path. ctx bounds the opening of sources.
func (c *Container) Build(ctx context.Context) (*Program, error) {
	b := &container{
		Container: c, a: newAssembly(), targets: map[string]slot{},
		proc: -1, root: -1, dev: -1, master: -1, slave: -1, devpts: -1,
	}
	if err := b.build(ctx); err != nil {
		linux.CloseAll(append(b.a.owned, b.master, b.devpts)...)
		return nil, err
	}
	p := newProgram(b.a)
	p.master, p.devpts = b.master, b.devpts
	return p, nil
}

func (b *container) build(ctx context.Context) error {
	if b.Spec == nil || b.Spec.Process == nil || b.Spec.Linux == nil {
		return fmt.Errorf("%w: no process or no linux section", ErrInvalid)
	}
	var err error
	if b.id, err = identityOf(b.Spec.Process, b.Filter, b.FilterFlags); err != nil {
		return err
	}
	if b.ns, err = namespacesOf(b.Spec.Linux.Namespaces, b.Join, b.PidInit); err != nil {
		return err
	}
	if b.users, err = usersOf(b.Spec, b.Join); err != nil {
		return err
	}
	if b.Spec.Process.SelinuxLabel != "" {
		return fmt.Errorf("%w: SELinux labels are not supported", ErrInvalid)
	}
	if b.proc, err = linux.Proc(); err != nil {
		return err
	}
	b.a.own(b.proc)
	if err := b.makeRoot(); err != nil {
		return err
	}
	if err := b.makeDev(ctx); err != nil {
		return err
	}
	if err := b.makeMounts(ctx); err != nil {
		return err
	}
	if err := b.terminalElsewhere(); err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	if err := b.makeMasks(); err != nil {
		return err
	}
	if err := b.finishRoot(); err != nil {
		return err
	}
	return b.steps()
}

// makeRoot mounts the root, and checks the places that nothing hostile may
// redirect: a symlink at /proc, /sys or /dev would move mounts, masks and
// device nodes elsewhere (CVE-2019-19921, CVE-2023-27561, CVE-2026-41579).
func (b *container) makeRoot() error {
	root, err := b.overlay()
	if err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	b.root = b.a.own(root)
	b.tree = linux.NewTree(root)
	if b.users != nil {
		owner, err := b.users.root()
		if err != nil {
			return err
		}
		b.tree.OwnedBy(owner)
	}
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		s, err := b.tree.Find(dir, linux.Want{Make: true, Strict: true})
		if err != nil {
			return fmt.Errorf("root file system: %q: %w", dir, err)
		}
		linux.CloseAll(s.Fd)
	}
	return b.mtab()
}

// overlay mounts the layers, detached; with a user namespace their ids are its.
func (b *container) overlay() (int, error) {
	r := b.Root
	if b.users == nil {
		return linux.Overlay(r.Lower, r.Upper, r.Work)
	}
	if r.Upper != "" {
		if err := b.users.take(r.Upper); err != nil {
			return -1, fmt.Errorf("writable layer: %w", err)
		}
	}
	return linux.OverlayMapped(r.Lower, r.Upper, r.Work, b.users.fd)
}

// mtab makes /etc/mtab, as images expect of a runtime. In the root only, never
// in a volume over /etc, and never through a link that leaves (CVE-2024-5154).
func (b *container) mtab() error {
	etc, err := b.tree.Find("/etc", linux.Want{})
	if err != nil {
		return nil // no /etc, or something else by that name: then there is no mtab
	}
	defer linux.CloseAll(etc.Fd)
	switch err := unix.Symlinkat("/proc/mounts", etc.Fd, "mtab"); err {
	case unix.EEXIST, unix.EROFS:
		return nil
	case nil:
		owner, err := b.users.root()
		if err != nil || b.users == nil {
			return err
		}
		return unix.Fchownat(etc.Fd, "mtab", owner.UID, owner.GID, unix.AT_SYMLINK_NOFOLLOW)
	default:
		return fmt.Errorf("make /etc/mtab: %w", err)
	}
}

// finishRoot makes the working directory, and the root read-only after all that
// had to be made in it.
func (b *container) finishRoot() error {
	if cwd := b.Spec.Process.Cwd; cwd != "" && cwd != "/" {
		if !path.IsAbs(cwd) {
			return fmt.Errorf("%w: working directory %q is not absolute", ErrInvalid, cwd)
		}
		s, err := b.tree.Find(cwd, linux.Want{Make: true})
		if err == nil {
			linux.CloseAll(s.Fd)
		} // else the step that goes there says it better
	}
	if !b.Root.Readonly {
		return nil
	}
	return linux.SetAttr(b.root, false, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

// rootPropagation is the propagation of the container's "/" for mounts made inside.
func (b *container) rootPropagation() (uint64, error) {
	p, err := propagation(b.Spec.Linux.RootfsPropagation)
	if err != nil {
		return 0, fmt.Errorf("root file system: %w", err)
	}
	if p == unix.MS_SHARED {
		if b.users != nil {
			return 0, fmt.Errorf("%w: no mount can reach the host out of a user namespace (propagation shared)", ErrInvalid)
		}
		return p, nil
	}
	return 0, nil // a new mount is private, and has no master to be the slave of
}

// adj is the oom_score_adj to write.
func (b *container) adj() int {
	switch {
	case b.OOMScoreAdj != nil:
		return *b.OOMScoreAdj
	case b.Spec.Process.OOMScoreAdj != nil:
		return *b.Spec.Process.OOMScoreAdj
	}
	return 0
}

// own namespaces of the pod or new ones.
type namespaces struct {
	clone  uint64                           // CLONE_NEW* flags for the first clone
	join   []specs.LinuxNamespaceType       // in the order to join
	fds    map[specs.LinuxNamespaceType]int // for join
	cgroup bool                             // a new cgroup namespace
	uts    bool                             // a new uts namespace
	init   int                              // pidfd of PID 1 to join, -1
	two    bool                             // others live in the PID namespace
}

func cloneFlags() map[specs.LinuxNamespaceType]uint64 {
	return map[specs.LinuxNamespaceType]uint64{
		specs.NetworkNamespace: unix.CLONE_NEWNET,
		specs.IPCNamespace:     unix.CLONE_NEWIPC,
		specs.UTSNamespace:     unix.CLONE_NEWUTS,
		specs.PIDNamespace:     unix.CLONE_NEWPID,
		specs.CgroupNamespace:  unix.CLONE_NEWCGROUP,
	}
}

// namespacesOf decides which namespaces are joined, made, or the host's. One
// that the spec names by a path and that was not passed is an error: it must
// not become a new one in silence.
func namespacesOf(list []specs.LinuxNamespace, join map[specs.LinuxNamespaceType]int, init int) (*namespaces, error) {
	n := &namespaces{clone: unix.CLONE_NEWNS, fds: join, init: init, two: true}
	flags := cloneFlags()
	for _, ns := range list {
		flag, known := flags[ns.Type]
		joined, ok := join[ns.Type]
		ok = ok && joined >= 0
		switch {
		case ns.Type == specs.MountNamespace && ns.Path == "":
		case ns.Type == specs.UserNamespace: // usersOf
		case !known:
			return nil, fmt.Errorf("%w: %s namespace is not supported", ErrInvalid, ns.Type)
		case ns.Type == specs.PIDNamespace:
			if n.two = init >= 0; !n.two {
				if ns.Path != "" {
					return nil, fmt.Errorf("%w: pid namespace %q was not passed", ErrInvalid, ns.Path)
				}
				n.clone |= flag
			}
		case ok:
			n.join = append(n.join, ns.Type)
		case ns.Path != "":
			return nil, fmt.Errorf("%w: %s namespace %q was not passed", ErrInvalid, ns.Type, ns.Path)
		case ns.Type == specs.CgroupNamespace:
			n.cgroup = true // by unshare, after the cgroups were joined
		default:
			n.clone |= flag
			n.uts = n.uts || ns.Type == specs.UTSNamespace
		}
	}
	return n, nil
}
