package layer

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxDepth is how deep a removal goes down before it moves a directory to the
// top of the tree instead. It bounds descriptors and stack, whatever a
// container has built: os.RemoveAll holds one descriptor per level.
const maxDepth = 12

// Remove removes a tree that a container or an image has filled: of any depth,
// with immutable and append-only files in it. A path that is not there is
// removed already. What was removed when ctx ended stays removed.
func Remove(ctx context.Context, path string) error {
	err := (&remover{ctx: ctx}).remove(unix.AT_FDCWD, path)
	if err != nil {
		return fmt.Errorf("remove %q: %w", path, err)
	}
	return nil
}

func removeAt(dir int, name string) error {
	return (&remover{ctx: context.Background()}).remove(dir, name)
}

type remover struct {
	ctx   context.Context // of the one Remove that made it
	top   int             // the tree's root
	moved int             // directories moved to the top so far
}

// remove removes dir/name. The top is emptied again and again until nothing
// was moved to it any more.
func (r *remover) remove(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	fd, e := unix.Openat(dir, name, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(e, unix.ENOENT) {
		return nil
	}
	if e != nil {
		return err
	}
	defer unix.Close(fd)
	r.top = fd
	for {
		before := r.moved
		if err := r.empty(fd, 0); err != nil {
			return err
		}
		if r.moved == before {
			break
		}
	}
	return r.rmdir(dir, name, fd)
}

// empty removes everything in the open directory fd.
func (r *remover) empty(fd, depth int) error {
	unlock(fd)
	buf := make([]byte, direntSize)
	for {
		if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
			return err
		}
		removed := 0
		for {
			if err := r.ctx.Err(); err != nil {
				return err
			}
			list, err := readDirents(fd, buf)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				break
			}
			for _, e := range list {
				if err := r.entry(fd, e, depth); err != nil {
					return fmt.Errorf("%q: %w", e.name, err)
				}
				removed++
			}
		}
		if removed == 0 {
			return nil
		}
	}
}

func (r *remover) entry(dir int, e dirent, depth int) error {
	sub, err := e.isDir(dir)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	if !sub {
		err := unix.Unlinkat(dir, e.name, 0)
		if errors.Is(err, unix.EPERM) {
			unlockFile(dir, e.name)
			err = unix.Unlinkat(dir, e.name, 0)
		}
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	}
	fd, err := unix.Openat(dir, e.name, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if depth >= maxDepth {
		return r.moveUp(dir, e.name, fd)
	}
	if err := r.empty(fd, depth+1); err != nil {
		return err
	}
	return r.rmdir(dir, e.name, fd)
}

// moveUp makes a deep directory a shallow one. Its new name must not be one
// that the tree has, so those are tried in order.
func (r *remover) moveUp(dir int, name string, fd int) error {
	if unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) == nil {
		return nil
	}
	unlock(fd) // an immutable directory cannot be moved either
	for {
		r.moved++
		to := ".removing-" + strconv.Itoa(r.moved)
		err := unix.Renameat2(dir, name, r.top, to, unix.RENAME_NOREPLACE)
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
}

func (r *remover) rmdir(dir int, name string, fd int) error {
	err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.EPERM) {
		unlock(fd)
		err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// locked are the inode flags that forbid removal: FS_IMMUTABLE_FL and
// FS_APPEND_FL of linux/fs.h.
const locked = 0x10 | 0x20

// unlock clears them. Where they do not exist there is nothing to clear, and
// where it fails the removal says so.
func unlock(fd int) {
	flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	if err == nil && flags&locked != 0 {
		_ = unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags&^locked)
	}
}

// unlockFile opens regular files only: opening a device is an act.
func unlockFile(dir int, name string) {
	var st unix.Stat_t
	err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	unlock(fd)
}
