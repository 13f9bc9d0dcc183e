package linux

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrNoIDMap: the file system of a mount cannot have its ids mapped.
var ErrNoIDMap = errors.New("this kernel cannot map the ids of its file system")

// MapIDs gives a detached mount the id mapping of a user namespace: an id of the
// file system is seen as what the namespace maps it to. With recursive, all
// mounts below get it too, or none. The mount must not have a mapping yet.
func MapIDs(mount int, recursive bool, userns int) error {
	err := SetAttr(mount, recursive, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns)})
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%w: %w", ErrNoIDMap, err)
	}
	return err
}

// UsersOf opens the user namespace that another namespace belongs to.
func UsersOf(namespace int) (int, error) {
	fd, err := unix.IoctlRetInt(namespace, unix.NS_GET_USERNS)
	if err != nil {
		return -1, fmt.Errorf("owner of a namespace: %w", err)
	}
	return fd, nil
}

// OverlayMapped is Overlay for a container in a user namespace: its layers are
// seen with the ids that the namespace maps theirs to. upper holds ids of the
// host: it is not mapped, since overlayfs itself, which is root, writes there.
func OverlayMapped(lower []string, upper, work string, userns int) (int, error) {
	switch {
	case len(lower) == 0:
		return -1, fmt.Errorf("overlay: %w: none", ErrLayers)
	case len(lower) > maxLayers:
		return -1, fmt.Errorf("overlay: %w: %d", ErrLayers, len(lower))
	case len(lower) == 1 && upper == "":
		fd, err := single(lower[0])
		if err != nil {
			return -1, err
		}
		if err := MapIDs(fd, false, userns); err != nil {
			_ = unix.Close(fd)
			return -1, fmt.Errorf("layer: %w", err)
		}
		return fd, nil
	}
	return Aside(func() (int, error) { return overlayMapped(lower, upper, work, userns) })
}

// overlayMapped works aside: before Linux 6.15 overlayfs takes only layers that
// are attached in the namespace of the caller.
func overlayMapped(lower []string, upper, work string, userns int) (int, error) {
	var rw []int
	if upper != "" {
		var err error
		rw, err = openLayers([]string{upper, work}, "", "")
		defer CloseAll(rw...)
		if err != nil {
			return -1, err
		}
	}
	place, err := NewFS("tmpfs", 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(place)
	if err := attachAside(place); err != nil {
		return -1, err
	}
	var layers []int
	defer func() { CloseAll(layers...) }()
	for i, path := range lower {
		fd, err := attachMapped(path, place, strconv.Itoa(i), userns)
		if err != nil {
			return -1, fmt.Errorf("layer %q: %w", path, err)
		}
		layers = append(layers, fd)
	}
	if err := unix.Mkdirat(place, "root", 0o755); err != nil {
		return -1, err
	}
	if err := unix.Chdir("/proc/thread-self/fd"); err != nil {
		return -1, err
	}
	return overlayHere(layers, rw, place)
}

// attachMapped attaches a mapped copy of a layer in the directory at place, by a
// name made for it.
func attachMapped(path string, place int, name string, userns int) (int, error) {
	dir, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	fd, err := CloneTree(dir, false)
	if err != nil {
		return -1, err
	}
	if err = MapIDs(fd, false, userns); err == nil {
		err = unix.Mkdirat(place, name, 0o700)
	}
	if err == nil {
		err = unix.MoveMount(fd, "", place, name, unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// overlayHere mounts an overlay of descriptors by their numbers: the working
// directory is the thread's /proc/thread-self/fd. place has a directory "root",
// for kernels that take the list of layers by mount(2) only.
func overlayHere(layers, rw []int, place int) (int, error) {
	var o []Option
	for _, fd := range layers {
		o = append(o, Option{"lowerdir+", strconv.Itoa(fd)})
	}
	upper := upperOptions(rw, strconv.Itoa)
	root, err := NewFS("overlay", 0, append(o, upper...)...)
	if !errors.Is(err, unix.EINVAL) { // "lowerdir+" needs Linux 6.8
		return root, err
	}
	list := numbers(layers)
	if len(list) <= maxValue {
		return NewFS("overlay", 0, append([]Option{{"lowerdir", list}}, upper...)...)
	}
	return mountOverlay(list, upper, place)
}

// mountOverlay mounts an overlay by mount(2), which takes a page of options, on
// the directory "root" at place, and gives a copy that is mounted nowhere.
func mountOverlay(list string, upper []Option, place int) (int, error) {
	options := "lowerdir=" + list
	for _, o := range upper {
		options += "," + o.Key + "=" + o.Value
	}
	at := strconv.Itoa(place) + "/root"
	if err := unix.Mount("overlay", at, "overlay", 0, options); err != nil {
		return -1, fmt.Errorf("mount overlay: %w", err)
	}
	root, err := OpenPath(at)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	return CloneTree(root, false)
}
