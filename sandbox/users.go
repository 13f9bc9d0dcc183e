package sandbox

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"slipway/oci"
	"slipway/sandbox/linux"
	"slipway/sandbox/program"
	"slipway/sandbox/wire"
)

// users are the id maps of a pod's user namespace; none without one.
func (s *pod) users() (uids, gids []specs.LinuxIDMapping) { return oci.UserNamespace(s.config) }

func (s *pod) ownUsers() bool {
	uids, _ := s.users()
	return uids != nil
}

// giveToRoot makes files of a pod its root's: in a user namespace the host's
// root is nobody.
func (s *pod) giveToRoot(paths ...string) error {
	uids, gids := s.users()
	if uids == nil {
		return nil
	}
	uid, err := program.HostID(uids, 0)
	if err != nil {
		return err
	}
	gid, err := program.HostID(gids, 0)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := os.Lchown(path, uid, gid); err != nil {
			return err
		}
	}
	return nil
}

// outside gives the ids of a container's user on the host.
func outside(spec *specs.Spec) (uid, gid int, err error) {
	u := spec.Process.User
	if spec.Linux.UIDMappings == nil {
		return int(u.UID), int(u.GID), nil
	}
	if uid, err = program.HostID(spec.Linux.UIDMappings, u.UID); err != nil {
		return 0, 0, err
	}
	gid, err = program.HostID(spec.Linux.GIDMappings, u.GID)
	return uid, gid, err
}

// mappings makes user namespaces for the mounts whose ids are mapped otherwise
// than those of the container: they exist for the kernel to read the maps, and
// nothing lives in them.
func (p *Pods) mappings(ctx context.Context, c *container, f *files, spec *specs.Spec) ([]program.Mapping, error) {
	var made []program.Mapping
	for _, m := range spec.Mounts {
		if m.UIDMappings == nil || slices.Equal(m.UIDMappings, spec.Linux.UIDMappings) && slices.Equal(m.GIDMappings, spec.Linux.GIDMappings) ||
			slices.ContainsFunc(made, func(o program.Mapping) bool {
				return slices.Equal(m.UIDMappings, o.UIDs) && slices.Equal(m.GIDMappings, o.GIDs)
			}) {
			continue
		}
		fd, err := p.makeMapping(ctx, c.id+"/ids-"+strconv.Itoa(len(made)), m)
		if err != nil {
			return nil, fmt.Errorf("mount %q: id mappings: %w", m.Destination, err)
		}
		made = append(made, program.Mapping{UIDs: m.UIDMappings, GIDs: m.GIDMappings, Userns: f.add(fd)})
	}
	return made, nil
}

func (p *Pods) makeMapping(ctx context.Context, id string, m specs.Mount) (int, error) {
	prog, err := (&program.Pod{User: true, UIDs: m.UIDMappings, GIDs: m.GIDMappings}).Build(ctx)
	if err != nil {
		return -1, err
	}
	defer prog.Close()
	const kind = string(specs.UserNamespace)
	ch, err := p.link.spawn(ctx, spawn{ID: id, Kind: wire.KindPod, Program: prog, Want: []string{kind}})
	if err != nil {
		return -1, err
	}
	_ = linux.Close(ch.Pidfd)
	if err := p.link.drop(ctx, id); err != nil { // from now on it is ours alone
		_ = linux.Close(ch.Offered[kind])
		return -1, err
	}
	return ch.Offered[kind], nil
}
