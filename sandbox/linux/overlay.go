package linux

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrLayers: a root of more layers than this kernel takes.
var ErrLayers = errors.New("too many layers")

// maxLayers is overlayfs's own limit.
const maxLayers = 500

// Overlay makes a root of layers, mounted nowhere: lower[0] lies on top. With
// upper it can be written, work being on the same file system; without, it is a
// read-only view. All are directories of ours. The caller closes the descriptor.
func Overlay(lower []string, upper, work string) (int, error) {
	switch {
	case len(lower) == 0:
		return -1, fmt.Errorf("overlay: %w: none", ErrLayers)
	case len(lower) > maxLayers:
		return -1, fmt.Errorf("overlay: %w: %d", ErrLayers, len(lower))
	case len(lower) == 1 && upper == "":
		return single(lower[0])
	}
	layers, err := openLayers(lower, upper, work)
	defer CloseAll(layers...)
	if err != nil {
		return -1, err
	}
	fd, err := overlayByOne(layers, len(lower))
	if errors.Is(err, unix.EINVAL) { // "lowerdir+" needs Linux 6.8
		fd, err = overlayByList(layers, len(lower))
		if errors.Is(err, ErrLayers) {
			fd, err = overlayByMount(lower, upper, work)
		}
	}
	return fd, err
}

// single is the view of one layer: overlayfs wants two.
func single(dir string) (int, error) {
	fd, err := OpenPath(dir)
	if err != nil {
		return -1, fmt.Errorf("open layer: %w", err)
	}
	defer unix.Close(fd)
	tree, err := CloneTree(fd, false)
	if err != nil {
		return -1, err
	}
	if err := SetAttr(tree, false, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE}); err != nil {
		_ = unix.Close(tree)
		return -1, err
	}
	return tree, nil
}

// openLayers opens all directories: lowers, then upper and work.
func openLayers(lower []string, upper, work string) ([]int, error) {
	paths := lower
	if upper != "" {
		paths = append(append([]string{}, lower...), upper, work)
	}
	var fds []int
	for _, p := range paths {
		fd, err := unix.Open(p, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fds, fmt.Errorf("open layer %q: %w", p, err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// selfFd names a descriptor. Names of layers would do but for two things: a
// value of fsconfig ends at 255 bytes, and ":" in a name needs care.
func selfFd(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func overlayByOne(layers []int, n int) (int, error) {
	var o []Option
	for _, fd := range layers[:n] {
		o = append(o, Option{"lowerdir+", selfFd(fd)})
	}
	return NewFS("overlay", 0, append(o, upperOptions(layers[n:], selfFd)...)...)
}

func upperOptions(rw []int, name func(int) string) []Option {
	if len(rw) == 0 {
		return nil
	}
	return []Option{{"upperdir", name(rw[0])}, {"workdir", name(rw[1])}}
}

// overlayByList is for kernels that take all lowers in one value: names must be
// short, so they are looked up in /proc/thread-self/fd by a thread that has its
// working directory there. A value of fsconfig ends at 255 bytes all the same:
// ErrLayers says that it would not do.
func overlayByList(layers []int, n int) (int, error) {
	list := numbers(layers[:n])
	if len(list) > maxValue {
		return -1, fmt.Errorf("overlay: %w for one option: %d", ErrLayers, n)
	}
	return onThread(unix.CLONE_FS, func() (int, error) {
		if err := unix.Chdir("/proc/thread-self/fd"); err != nil {
			return -1, err
		}
		return NewFS("overlay", 0, append([]Option{{"lowerdir", list}}, upperOptions(layers[n:], strconv.Itoa)...)...)
	})
}

// maxValue is the length of the longest value that fsconfig takes.
const maxValue = 255

// numbers names descriptors by their numbers.
func numbers(fds []int) string {
	names := make([]string, len(fds))
	for i, fd := range fds {
		names[i] = strconv.Itoa(fd)
	}
	return strings.Join(names, ":")
}

// overlayByMount is for lists that are too long even so: mount(2) takes a page
// of options, and needs a place, which is found aside. The layers are opened
// there too: overlayfs wants them in the namespace of the caller.
func overlayByMount(lower []string, upper, work string) (int, error) {
	return Aside(func() (int, error) {
		layers, err := openLayers(lower, upper, work)
		defer CloseAll(layers...)
		if err != nil {
			return -1, err
		}
		place, err := NewFS("tmpfs", 0)
		if err != nil {
			return -1, err
		}
		defer unix.Close(place)
		if err := attachAside(place); err != nil {
			return -1, err
		}
		if err := unix.Mkdirat(place, "root", 0o755); err != nil {
			return -1, err
		}
		if err := unix.Chdir("/proc/thread-self/fd"); err != nil {
			return -1, err
		}
		root, err := mountOverlay(numbers(layers[:len(lower)]), upperOptions(layers[len(lower):], strconv.Itoa), place)
		if err != nil {
			return -1, fmt.Errorf("%d layers: %w", len(lower), err)
		}
		return root, nil
	})
}
