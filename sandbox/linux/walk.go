package linux

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrSymlink: a symlink lies where none may be (CVE-2019-19921, CVE-2026-41579).
var ErrSymlink = errors.New("is a symlink")

// ErrKind: something of another kind lies there, a file where a directory should be or the reverse.
var ErrKind = errors.New("is of another kind")

// maxLinks bounds the symlinks of one walk, as the kernel does.
const maxLinks = 40

// Place is a mount and an inode in it.
type Place struct{ Mount, Inode uint64 }

// PlaceOf tells where a descriptor points.
func PlaceOf(fd int) (Place, error) {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_MNT_ID, &st)
	if err != nil {
		return Place{}, fmt.Errorf("statx: %w", err)
	}
	return Place{st.Mnt_id, st.Ino}, nil
}

// Tree resolves paths in a root that is mounted nowhere yet, as they will
// resolve once everything is attached. Each component is one openat2 from a
// descriptor, so neither a symlink nor a rename leads out; ".." goes back on
// the stack of descriptors and is never asked of the kernel. (A whole-path
// RESOLVE_IN_ROOT could not make a directory behind a dangling symlink, and not
// see a volume that is not attached yet.)
type Tree struct {
	root   int
	over   map[Place]int    // what will lie on a place
	kernel map[Place]string // what only the container itself can mount there
	owner  *Owner           // of what is made
}

// Owner are ids of the host.
type Owner struct{ UID, GID int }

// NewTree makes a tree of a root, whose descriptor stays the caller's.
func NewTree(root int) *Tree {
	return &Tree{root: root, over: map[Place]int{}, kernel: map[Place]string{}}
}

// OwnedBy has what is made on the way belong to somebody else than root: the
// root of a user namespace.
func (t *Tree) OwnedBy(o Owner) { t.owner = &o }

// Cover says that the tree at fd will be attached on target; both stay the caller's.
func (t *Tree) Cover(target, fd int) error {
	p, err := PlaceOf(target)
	if err != nil {
		return err
	}
	delete(t.kernel, p)
	t.over[p] = fd
	return nil
}

// Reserve says that a file system that only the container can mount, known by
// name, will be attached on target: walks end there.
func (t *Tree) Reserve(target int, name string) error {
	p, err := PlaceOf(target)
	if err != nil {
		return err
	}
	delete(t.over, p)
	t.kernel[p] = name
	return nil
}

// Want says what a walk is for.
type Want struct {
	File   bool // a file at the end; else a directory
	Any    bool // whatever is there
	Make   bool // make what is missing: directories 0755, files 0644, owned by root or whom OwnedBy names
	Strict bool // no component may be a symlink
}

// Spot is the end of a walk.
type Spot struct {
	Fd     int    // O_PATH, the caller's to close; -1 when Kernel is set and Rest is not ""
	Kernel string // the name given to Reserve, when the walk came to such a place
	Rest   string // what is left of the path below it
}

// Find walks path. The error names the component at fault.
func (t *Tree) Find(path string, want Want) (Spot, error) {
	root, err := Dup(t.root)
	if err != nil {
		return Spot{Fd: -1}, err
	}
	w := &walk{tree: t, want: want, stack: []int{root}, rest: split(path)}
	defer w.close()
	for len(w.rest) > 0 {
		spot, done, err := w.next()
		if err != nil || done {
			return spot, err
		}
	}
	fd := w.stack[len(w.stack)-1]
	if err := w.check(fd); err != nil {
		return Spot{Fd: -1}, fmt.Errorf("%q: %w", path, err)
	}
	w.stack = w.stack[:len(w.stack)-1]
	return Spot{Fd: fd, Kernel: w.kernel}, nil
}

type walk struct {
	tree   *Tree
	want   Want
	stack  []int
	rest   []string
	links  int
	kernel string
}

func (w *walk) close() { CloseAll(w.stack...) }

// next takes one component.
func (w *walk) next() (Spot, bool, error) {
	none := Spot{Fd: -1}
	c := w.rest[0]
	w.rest = w.rest[1:]
	w.kernel = ""
	cur := w.stack[len(w.stack)-1]
	if c == ".." {
		if len(w.stack) > 1 {
			_ = unix.Close(cur)
			w.stack = w.stack[:len(w.stack)-1]
		}
		return none, false, nil
	}
	fd, err := w.open(cur, c)
	if err != nil {
		return none, false, fmt.Errorf("%q: %w", c, err)
	}
	mode, err := Mode(fd)
	if err == nil && mode&unix.S_IFMT == unix.S_IFLNK {
		err = w.follow(fd)
		_ = unix.Close(fd)
		if err != nil {
			err = fmt.Errorf("%q: %w", c, err)
		}
		return none, false, err
	}
	var p Place
	if err == nil {
		p, err = PlaceOf(fd)
	}
	if err != nil {
		_ = unix.Close(fd)
		return none, false, fmt.Errorf("%q: %w", c, err)
	}
	return w.step(fd, p)
}

// step goes onto fd, or onto what will lie there.
func (w *walk) step(fd int, p Place) (Spot, bool, error) {
	if name, ok := w.tree.kernel[p]; ok {
		if len(w.rest) > 0 {
			_ = unix.Close(fd)
			return Spot{Fd: -1, Kernel: name, Rest: strings.Join(w.rest, "/")}, true, nil
		}
		w.kernel = name
	}
	if over, ok := w.tree.over[p]; ok {
		_ = unix.Close(fd)
		var err error
		if fd, err = Dup(over); err != nil {
			return Spot{Fd: -1}, false, err
		}
	}
	w.stack = append(w.stack, fd)
	return Spot{}, false, nil
}

// open opens one component, making it when it is missing and wanted.
func (w *walk) open(cur int, c string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_BENEATH,
	}
	fd, err := openat2(cur, c, how)
	if err != unix.ENOENT || !w.want.Make {
		return fd, err
	}
	make := makeDir
	if w.want.File && len(w.rest) == 0 {
		make = makeFile
	}
	err = w.tree.owner.make(cur, c, make)
	if err != nil && err != unix.EEXIST {
		return -1, fmt.Errorf("make: %w", err)
	}
	return openat2(cur, c, how)
}

// follow puts the target of a symlink in front of the rest of the path.
func (w *walk) follow(link int) error {
	if w.want.Strict {
		return ErrSymlink
	}
	if w.links++; w.links > maxLinks {
		return unix.ELOOP
	}
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(link, "", b)
	if err != nil {
		return err
	}
	target := string(b[:n])
	if strings.HasPrefix(target, "/") {
		CloseAll(w.stack[1:]...)
		w.stack = w.stack[:1]
	}
	w.rest = append(split(target), w.rest...)
	return nil
}

// check looks at the end of the walk.
func (w *walk) check(fd int) error {
	if w.want.Any {
		return nil
	}
	dir, err := IsDir(fd)
	if err == nil && dir == w.want.File {
		err = ErrKind
	}
	return err
}

func split(path string) []string {
	var parts []string
	for c := range strings.SplitSeq(path, "/") {
		if c != "" && c != "." {
			parts = append(parts, c)
		}
	}
	return parts
}

// make makes something that belongs to the owner; nil: to root. In a mount with
// an id mapping root cannot make anything, having no id there: then it is made
// as the owner, with what the owner may do in that directory.
func (o *Owner) make(dir int, name string, make func(dir int, name string) error) error {
	if o == nil {
		return make(dir, name)
	}
	err := make(dir, name)
	if err == nil {
		return unix.Fchownat(dir, name, o.UID, o.GID, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != unix.EOVERFLOW {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	gid, err := unix.SetfsgidRetGid(o.GID)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Setfsgid(gid) }()
	uid, err := unix.SetfsuidRetUid(o.UID)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Setfsuid(uid) }()
	return make(dir, name)
}

// makeDir makes a directory with mode 0755 whatever the umask is.
func makeDir(dir int, name string) error {
	if err := unix.Mkdirat(dir, name, 0o755); err != nil {
		return err
	}
	fd, err := openat2(dir, name, unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fchmod(fd, 0o755)
}

// makeFile makes an empty file with mode 0644 whatever the umask is.
func makeFile(dir int, name string) error {
	fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fchmod(fd, 0o644)
}
