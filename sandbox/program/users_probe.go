package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

// ErrNoUsers: this kernel, or the file system that images lie on, cannot carry
// pods with a user namespace. The cause says what was tried.
var ErrNoUsers = errors.New("no containers in user namespaces")

// ProbeUsers tries what a container in a user namespace needs: the namespace, and
// a root of mapped layers on the file system of dir, a directory of ours. It
// leaves nothing behind. Error: ErrNoUsers.
func ProbeUsers(ctx context.Context, dir string) error {
	if err := probeUsers(ctx, dir); err != nil {
		return fmt.Errorf("%w: %w", ErrNoUsers, err)
	}
	return nil
}

func probeUsers(ctx context.Context, dir string) error {
	const base = 1 << 20
	ids := []specs.LinuxIDMapping{{HostID: base, Size: 65536}}
	p, err := (&Pod{User: true, UIDs: ids, GIDs: ids}).Build(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	c, err := p.startHere(ctx)
	if err != nil {
		return err
	}
	defer linux.CloseAll(c.Offered...)
	dir, err = os.MkdirTemp(dir, ".probe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var paths []string
	for _, name := range []string{"layer", "upper", "work"} {
		paths = append(paths, filepath.Join(dir, name))
		if err := os.Mkdir(paths[len(paths)-1], 0o700); err != nil {
			return err
		}
	}
	if err := os.Mkdir(filepath.Join(paths[0], "d"), 0o700); err != nil {
		return err
	}
	root, err := linux.OverlayMapped(paths[:1], paths[1], paths[2], c.Offered[0])
	if err != nil {
		return err
	}
	defer linux.CloseAll(root)
	var st unix.Stat_t
	if err := unix.Fstatat(root, "d", &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Uid != base {
		return fmt.Errorf("a file of root in a mapped layer is of %d, not of %d", st.Uid, base)
	}
	return nil
}
