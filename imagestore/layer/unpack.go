package layer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	_ "crypto/sha512" // a diffID may be sha512
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Info says what was unpacked.
type Info struct {
	// DiffID is the digest of the plain tar.
	DiffID digest.Digest
	// Bytes and Inodes are what the tree takes up, files rounded up to 4 KiB.
	Bytes, Inodes uint64
	// Implied are the directories that entries needed and the tar did not
	// hold, sorted; the root is not among them. Inherit gives them the
	// attributes that they have in the layers below.
	Implied []string
	// RootExplicit: the tar had an entry for the root directory.
	RootExplicit bool
	// RootOpaque: nothing of the layers below is visible. The kernel does not
	// look for the mark on a root, so those layers must be left out.
	RootOpaque bool
}

// Unpack reads the layer src, compressed or not, to its end and writes its
// tree into the empty directory dir, which only the caller can reach. What it
// wrote when it failed is for the caller to remove. Nothing is synced.
//
// An error of src is returned as it is; everything that is wrong with the
// bytes is ErrInvalid or ErrLimit.
func (d *Decoder) Unpack(ctx context.Context, src io.Reader, dir string, l Limits) (Info, error) {
	l = l.withDefaults()
	in := &source{r: src}
	compressed := readAhead(in, 4, 256<<10)
	defer compressed.Close()
	plain, err := d.Decompress(ctx, compressed)
	if err != nil {
		return Info{}, err
	}
	defer plain.Close()
	m := &meter{ctx: ctx, r: plain, in: in, limits: l}
	hash := sha256.New()
	decoded := readAhead(io.TeeReader(m, hash), 4, 256<<10)
	defer decoded.Close()

	root, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return Info{}, fmt.Errorf("open %q: %w", dir, err)
	}
	u := &unpacker{root: root, limits: l, implied: map[string]struct{}{}, open: map[string]kept{}}
	u.own, u.umask = os.Geteuid() == 0 && os.Getegid() == 0, umask()
	defer u.close()
	if err := u.run(ctx, decoded); err != nil {
		return Info{}, err
	}
	if err := drain(decoded); err != nil {
		return Info{}, err
	}
	if err := drain(compressed); err != nil {
		return Info{}, err
	}
	u.info.DiffID = digest.NewDigest(digest.SHA256, hash)
	u.info.Implied = u.impliedPaths()
	return u.info, nil
}

// drain reads what follows the end of a tar: padding, and not much of it.
func drain(r io.Reader) error {
	n, err := io.Copy(io.Discard, io.LimitReader(r, maxTrailer+1))
	if err != nil {
		return err
	}
	if n > maxTrailer {
		return fmt.Errorf("more than %d bytes after the end of the archive: %w", maxTrailer, ErrInvalid)
	}
	return nil
}

// unpacker writes one tree. It is the only one who knows of it, so what it saw
// a moment ago still holds; hostile are only the names.
type unpacker struct {
	root    int
	limits  Limits
	info    Info
	entries int64
	unseen  int64 // bytes written since the free space was looked at
	buf     []byte
	own     bool                // what this process makes belongs to 0:0
	umask   uint32              // what the kernel takes from the mode of what is made
	open    map[string]kept     // directories, by clean path
	implied map[string]struct{} // directories made for want of an entry
	times   []dirTime           // set last: a child changes its parent's mtime
}

type dirTime struct {
	path  string
	mtime time.Time
}

func (u *unpacker) run(ctx context.Context, r io.Reader) error {
	if err := unix.Fchmod(u.root, 0o755); err != nil {
		return err
	}
	u.info.Inodes, u.info.Bytes = 1, 4096
	t := tar.NewReader(r)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return u.setTimes()
		}
		if err != nil {
			return tarError(err)
		}
		if u.entries++; u.entries > u.limits.Entries {
			return fmt.Errorf("more than %d entries: %w", u.limits.Entries, ErrLimit)
		}
		if err := u.entry(h, t); err != nil {
			return fmt.Errorf("entry %q: %w", shorten(h.Name), err)
		}
	}
}

// tarError tells a malformed tar from a source that failed.
func tarError(err error) error {
	var src *sourceError
	if errors.As(err, &src) {
		return src
	}
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("archive cut short: %w: %w", ErrInvalid, err)
	}
	return err
}

// setTimes gives directories their mtimes. One that was replaced since is
// gone, and that is fine.
func (u *unpacker) setTimes() error {
	for i := len(u.times) - 1; i >= 0; i-- {
		fd, err := u.dir(u.times[i].path)
		if err == nil {
			err = setTime(fd, "", u.times[i].mtime, unix.AT_EMPTY_PATH)
		}
		if err != nil && !gone(err) {
			return fmt.Errorf("directory %q: set time: %w", u.times[i].path, err)
		}
	}
	return nil
}

func (u *unpacker) impliedPaths() []string {
	if len(u.implied) == 0 {
		return nil
	}
	paths := make([]string, 0, len(u.implied))
	for p := range u.implied {
		paths = append(paths, p)
	}
	sort.Strings(paths)
	return paths
}

// gone are the errors of a path that something else has taken the place of.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

func shorten(name string) string {
	if len(name) > 256 {
		return name[:256] + "..."
	}
	return name
}

// setTime sets both times of dir/name. With AT_EMPTY_PATH and no name, of dir.
func setTime(dir int, name string, at time.Time, flags int) error {
	ts := unix.NsecToTimespec(at.UnixNano())
	if at.Year() < 1678 || at.Year() > 2261 { // what UnixNano can hold
		ts = unix.Timespec{}
	}
	return unix.UtimesNanoAt(dir, name, []unix.Timespec{ts, ts}, flags)
}
