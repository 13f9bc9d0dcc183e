package program

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
)

// CopyUp copies what a root has at path, a directory, into dst, a directory of
// the host: owners, modes, times and extended attributes kept, dst itself
// included. Nothing at path, or no directory there, is no error: dst stays as
// it is. Links are followed inside the root on the way to path and nowhere below
// it; the path is hostile (CVE-2022-23648). Hard links become files of their
// own; sockets and devices are left out.
func CopyUp(ctx context.Context, r Root, path, dst string) error {
	root, err := view(r)
	if err != nil {
		return err
	}
	defer linux.CloseAll(root)
	src, err := linux.NewTree(root).Find(path, linux.Want{})
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, linux.ErrKind):
		return nil
	case err != nil:
		return fmt.Errorf("%q: %w", path, err)
	}
	defer linux.CloseAll(src.Fd)
	to, err := linux.OpenPath(dst)
	if err != nil {
		return fmt.Errorf("open %q: %w", dst, err)
	}
	defer linux.CloseAll(to)
	if err := linux.CopyTree(ctx, src.Fd, to); err != nil {
		return fmt.Errorf("copy %q: %w", path, err)
	}
	return nil
}
