package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"slipway/imagestore/layer"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func dir(name string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}
}

func file(name, body string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Linkname: body}
}

func link(name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: target}
}

func hard(name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}
}

// archive writes a tar. A regular file's body is in Linkname.
func archive(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		body := ""
		if h.Typeflag == tar.TypeReg {
			body, h.Linkname = h.Linkname, ""
			h.Size = int64(len(body))
		}
		if h.ModTime.IsZero() {
			h.ModTime = time.Unix(1_600_000_000, 0)
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// arena is a host directory with a canary beside the tree that is unpacked.
type arena struct {
	host, tree string
}

func newArena(t testing.TB) arena {
	t.Helper()
	host := t.TempDir()
	a := arena{host: host, tree: filepath.Join(host, "x", "tree")}
	for _, d := range []string{a.tree, filepath.Join(host, "canary")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"canary/file", "secret", "x/secret"} {
		if err := os.WriteFile(filepath.Join(host, f), []byte("canary"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// outside describes everything of the arena but the tree.
func (a arena) outside(t testing.TB) string {
	t.Helper()
	return describe(t, a.host, a.tree)
}

func (a arena) inside(t testing.TB) string { return describe(t, a.tree, "") }

func describe(t testing.TB, root, skip string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p == skip {
			return fs.SkipDir
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		st := fi.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&b, "%s %o %d:%d", rel, st.Mode, st.Uid, st.Gid)
		switch {
		case fi.Mode().IsRegular():
			data, _ := os.ReadFile(p)
			fmt.Fprintf(&b, " %q", data)
		case fi.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(p)
			fmt.Fprintf(&b, " -> %s", to)
		case fi.Mode()&fs.ModeDevice != 0:
			fmt.Fprintf(&b, " dev %d", st.Rdev)
		}
		if v := xattr(p, "trusted.overlay.opaque"); v != "" {
			fmt.Fprintf(&b, " opaque")
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func xattr(path, name string) string {
	buf := make([]byte, 1024)
	n, err := unix.Lgetxattr(path, name, buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

func unpack(t testing.TB, a arena, data []byte) (layer.Info, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return layer.NewDecoder().Unpack(ctx, bytes.NewReader(data), a.tree, layer.Limits{})
}

func TestUnpackKeepsWhatTheTarSays(t *testing.T) {
	needRoot(t)
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	a := newArena(t)
	cap2 := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	su := file("./bin/su", "#!")
	su.Mode, su.Uid, su.Gid = 0o4755, 12, 34
	su.PAXRecords = map[string]string{
		"SCHILY.xattr.security.capability":        cap2,
		"SCHILY.xattr.user.note":                  "hi",
		"SCHILY.xattr.user.overlay.redirect":      "/etc",
		"SCHILY.xattr.trusted.overlay.redirect":   "/../../etc",
		"SCHILY.xattr.trusted.overlay.metacopy":   "",
		"SCHILY.xattr.security.selinux":           "system_u:object_r:x",
		"SCHILY.xattr.security.ima":               "x",
		"SCHILY.xattr.trusted.slipway-test":       "x",
		"SCHILY.xattr.user.overlay.opaque":        "y",
		"SCHILY.xattr.trusted.overlay.opaque":     "y",
		"SCHILY.xattr.system.nfs4_acl":            "x",
		"SCHILY.xattr.user.x\x01y":                "z",
		"SCHILY.xattr.trusted.overlay.whiteout":   "y",
		"SCHILY.xattr.trusted.overlay.protattr":   "i",
		"SCHILY.xattr.trusted.overlay.upper":      "i",
		"SCHILY.xattr.trusted.overlay.origin":     "i",
		"SCHILY.xattr.security.capability.not-it": "i",
	}
	sticky := dir("tmp/")
	sticky.Mode = 0o1777
	info, err := unpack(t, a, archive(t, dir("./"), dir("./bin/"), su, sticky, link("sh", "../../../bin/su"),
		hard("bin/su2", "bin/su"), tar.Header{Name: "null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3},
		tar.Header{Name: "pipe", Typeflag: tar.TypeFifo, Mode: 0o600}, file("a//b/../c", "c")))
	if err != nil {
		t.Fatal(err)
	}
	want := `. 40755 0:0
a 40755 0:0
a/c 100644 0:0 "c"
bin 40755 0:0
bin/su 104755 12:34 "#!"
bin/su2 104755 12:34 "#!"
null 20666 0:0 dev 259
pipe 10600 0:0
sh 120777 0:0 -> ../../../bin/su
tmp 41777 0:0
`
	if got := a.inside(t); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	p := filepath.Join(a.tree, "bin/su")
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(p, buf)
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(buf[:n]), "\x00"), "\x00") {
		switch name {
		case "user.note", "user.x\x01y", "security.capability", "security.selinux":
			if name == "security.selinux" && xattr(p, name) == "system_u:object_r:x" {
				t.Errorf("label of the image kept")
			}
		default:
			t.Errorf("attribute %q kept", name)
		}
	}
	if xattr(p, "security.capability") != cap2 {
		t.Error("file capability lost")
	}
	for _, p := range []string{"", "bin", "bin/su", "sh", "tmp", "null"} {
		fi, err := os.Lstat(filepath.Join(a.tree, p))
		if err != nil {
			t.Fatal(err)
		}
		if fi.ModTime().Unix() != 1_600_000_000 {
			t.Errorf("%q: mtime %v", p, fi.ModTime())
		}
	}
	if !info.RootExplicit || fmt.Sprint(info.Implied) != "[a]" || info.Inodes != 9 {
		t.Errorf("info: %+v", info)
	}
}

// TestBreakouts holds the layers that have led other runtimes out of the tree.
// Whether one is refused or ends up inside does not matter here; the host does.
func TestBreakouts(t *testing.T) {
	needRoot(t)
	abs := func(a arena, p string) string { return filepath.Join(a.host, p) }
	dev := func(name string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}
	}
	chmod := func(h tar.Header) tar.Header { h.Mode = 0o4777; return h }
	type build func(a arena) []tar.Header
	of := func(h ...tar.Header) build { return func(arena) []tar.Header { return h } }
	cases := map[string]build{
		"dotdot file":        of(file("../../secret", "x")),
		"dotdot deep":        of(file("a/../../../../secret", "x")),
		"absolute":           func(a arena) []tar.Header { return []tar.Header{file(abs(a, "secret"), "x")} },
		"dotdot dir":         of(chmod(dir("../"))),
		"dotdot symlink":     of(link("../secret", "x")),
		"dotdot device":      of(dev("../../secret")),
		"symlink parent":     func(a arena) []tar.Header { return []tar.Header{link("l", a.host), file("l/secret", "x")} },
		"symlink parent rel": of(link("l", "../.."), file("l/secret", "x")),
		"symlink slash":      of(link("l/", "../.."), file("l/secret", "x")),
		"symlink chain":      of(link("a", "../.."), link("b", "a"), link("c", "b/canary"), file("c/file", "x")),
		"chain lexically in": of(dir("d"), link("d/up", ".."), link("e", "d/up/../.."), file("e/secret", "x")),
		"lexically in, deep": of(dir("a"), dir("a/b"), link("a/b/c", "../.."), link("x", "a/b/c/../.."), file("x/secret", "y")),
		"file over symlink":  func(a arena) []tar.Header { return []tar.Header{link("l", abs(a, "secret")), file("l", "x")} },
		"dir over symlink":   func(a arena) []tar.Header { return []tar.Header{link("l", a.host), dir("l"), file("l/secret", "x")} },
		"chmod dir symlink":  func(a arena) []tar.Header { return []tar.Header{link("l", abs(a, "canary")), chmod(dir("l"))} },
		"symlink over dir": func(a arena) []tar.Header {
			return []tar.Header{dir("d"), file("d/f", ""), link("d", a.host), file("d/secret", "x")}
		},
		"symlink over cached": of(dir("d"), dir("d/e"), file("d/e/f", ""), link("d", "../.."), file("d/canary/file", "x"), file("d/e/f", "")),
		"hard link up":        of(hard("l", "../../secret"), file("l", "x")),
		"hard link absolute":  func(a arena) []tar.Header { return []tar.Header{hard("l", abs(a, "secret"))} },
		"hard link chmod":     func(a arena) []tar.Header { return []tar.Header{hard("l", abs(a, "secret")), chmod(file("l", ""))} },
		"hard link symlink": func(a arena) []tar.Header {
			return []tar.Header{link("s", abs(a, "secret")), hard("l", "s"), chmod(file("l", "x"))}
		},
		"hard link via dir": func(a arena) []tar.Header {
			return []tar.Header{link("s", a.host), hard("l", "s/secret"), file("l", "x")}
		},
		"hard link out":      of(file("f", ""), hard("../../new", "f")),
		"hard link to dir":   of(dir("d"), hard("l", "d")),
		"hard link to root":  of(hard("l", ".")),
		"root symlink":       of(link(".", "../..")),
		"root symlink slash": of(link("./", "../..")),
		"root symlink abs":   func(a arena) []tar.Header { return []tar.Header{link("/", a.host)} },
		"root symlink lex":   of(link("a/..", "../..")),
		"root file":          of(file(".", "x")),
		"root hard link":     of(file("f", ""), hard("./", "f")),
		"whiteout dotdot":    of(file(".wh...", "")),
		"whiteout dot":       of(file(".wh..", "")),
		"whiteout empty":     of(file(".wh.", "")),
		"whiteout slash":     of(dir(".wh./")),
		"whiteout up":        of(file("../.wh.secret", "")),
		"whiteout deep up":   of(file("a/../../../.wh.secret", "")),
		"whiteout symlink":   func(a arena) []tar.Header { return []tar.Header{link("l", a.host), file("l/.wh.secret", "")} },
		"opaque symlink": func(a arena) []tar.Header {
			return []tar.Header{link("l", abs(a, "canary")), file("l/.wh..wh..opq", "")}
		},
		"opaque up":        of(file("../../canary/.wh..wh..opq", "")),
		"aufs nested":      of(file(".wh..wh.x", ""), file(".wh..wh.plnk/../../../secret", "x")),
		"proc link":        of(link("p", "/proc/self/root"), file("p/tmp/slipway-breakout", "x")),
		"cwd link":         of(link("p", "/proc/self/cwd"), file("p/slipway-breakout", "x")),
		"long whiteout":    of(file(".wh."+strings.Repeat("x", 300), "")),
		"long name":        of(file(strings.Repeat("x", 300), "")),
		"long path":        of(file(strings.Repeat("x/", 3000)+"x", "")),
		"loop":             of(link("a", "b"), link("b", "a"), file("a/f", "x")),
		"device over link": func(a arena) []tar.Header { return []tar.Header{link("l", abs(a, "secret")), dev("l")} },
	}
	for name, b := range cases {
		t.Run(name, func(t *testing.T) {
			a := newArena(t)
			before := a.outside(t)
			_, err := unpack(t, a, archive(t, b(a)...))
			if err != nil && !errors.Is(err, layer.ErrInvalid) && !errors.Is(err, layer.ErrLimit) {
				t.Errorf("error of another kind: %v", err)
			}
			if after := a.outside(t); after != before {
				t.Errorf("the host changed (%v):\n%s\nwas:\n%s", err, after, before)
			}
			for _, p := range []string{"/tmp/slipway-breakout", "slipway-breakout"} {
				if _, err := os.Lstat(p); err == nil {
					os.Remove(p)
					t.Errorf("%s exists", p)
				}
			}
		})
	}
}

func TestRefused(t *testing.T) {
	needRoot(t)
	neg := file("f", "")
	neg.Uid = -1
	for name, c := range map[string]struct {
		entries []tar.Header
		want    error
	}{
		"root is a symlink":     {[]tar.Header{link(".", "x")}, layer.ErrInvalid},
		"root is a file":        {[]tar.Header{file("a/..", "x")}, layer.ErrInvalid},
		"device out of range":   {[]tar.Header{{Name: "d", Typeflag: tar.TypeBlock, Devmajor: 1<<32 + 254}}, layer.ErrInvalid},
		"minor out of range":    {[]tar.Header{{Name: "d", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 1 << 20}}, layer.ErrInvalid},
		"negative uid":          {[]tar.Header{neg}, layer.ErrInvalid},
		"link to another layer": {[]tar.Header{hard("l", "bin/busybox")}, layer.ErrInvalid},
		"file as directory":     {[]tar.Header{file("a", ""), file("a/b", "")}, layer.ErrInvalid},
		"whiteout of nothing":   {[]tar.Header{file(".wh.", "")}, layer.ErrInvalid},
		"long path":             {[]tar.Header{file(strings.Repeat("x/", 3000)+"x", "")}, layer.ErrLimit},
		"many attributes": {[]tar.Header{{Name: "f", Typeflag: tar.TypeReg, PAXRecords: map[string]string{
			"SCHILY.xattr.user.a": strings.Repeat("x", 70000),
		}}}, layer.ErrLimit},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := unpack(t, newArena(t), archive(t, c.entries...))
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if err != nil && !strings.Contains(err.Error(), "entry ") {
				t.Errorf("the error does not name the entry: %v", err)
			}
		})
	}
}

func TestWhiteouts(t *testing.T) {
	needRoot(t)
	for name, c := range map[string]struct {
		entries []tar.Header
		want    string
	}{
		"file":                 {[]tar.Header{file(".wh.x", "")}, "x 20000 0:0 dev 0\n"},
		"below":                {[]tar.Header{dir("d"), file("d/.wh.x", "")}, "d 40755 0:0\nd/x 20000 0:0 dev 0\n"},
		"opaque":               {[]tar.Header{dir("d"), file("d/.wh..wh..opq", ""), file("d/f", "")}, "d 40755 0:0 opaque\nd/f 100644 0:0 \"\"\n"},
		"opaque last":          {[]tar.Header{dir("d"), file("d/f", ""), file("d/.wh..wh..opq", "")}, "d 40755 0:0 opaque\nd/f 100644 0:0 \"\"\n"},
		"directory after it":   {[]tar.Header{file(".wh.d", ""), dir("d"), file("d/f", "")}, "d 40755 0:0 opaque\nd/f 100644 0:0 \"\"\n"},
		"implied after it":     {[]tar.Header{file(".wh.d", ""), file("d/f", "")}, "d 40755 0:0 opaque\nd/f 100644 0:0 \"\"\n"},
		"directory before it":  {[]tar.Header{dir("d"), file("d/f", ""), file(".wh.d", "")}, "d 40755 0:0 opaque\nd/f 100644 0:0 \"\"\n"},
		"file before it":       {[]tar.Header{file("f", "1"), file(".wh.f", "")}, "f 100644 0:0 \"1\"\n"},
		"file after it":        {[]tar.Header{file(".wh.f", ""), file("f", "1")}, "f 100644 0:0 \"1\"\n"},
		"aufs":                 {[]tar.Header{file(".wh..wh.aufs", ""), dir(".wh..wh.plnk"), file(".wh..wh.plnk/1", "")}, ""},
		"twice":                {[]tar.Header{file(".wh.f", ""), file(".wh.f", "")}, "f 20000 0:0 dev 0\n"},
		"directory over file":  {[]tar.Header{file("d", ""), dir("d")}, "d 40755 0:0 opaque\n"},
		"file over directory":  {[]tar.Header{dir("d"), file("d/f", ""), dir("d/e"), file("d", "1")}, "d 100644 0:0 \"1\"\n"},
		"file twice":           {[]tar.Header{file("f", "1"), file("f", "22")}, "f 100644 0:0 \"22\"\n"},
		"in a symlinked place": {[]tar.Header{dir("usr"), dir("usr/lib"), link("lib", "usr/lib"), file("lib/x", "1")}, "lib 120777 0:0 -> usr/lib\nusr 40755 0:0\nusr/lib 40755 0:0\nusr/lib/x 100644 0:0 \"1\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArena(t)
			if _, err := unpack(t, a, archive(t, c.entries...)); err != nil {
				t.Fatal(err)
			}
			_, got, _ := strings.Cut(a.inside(t), "\n")
			if got != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
}

func TestRootOpaque(t *testing.T) {
	needRoot(t)
	info, err := unpack(t, newArena(t), archive(t, file(".wh..wh..opq", "")))
	if err != nil || !info.RootOpaque {
		t.Errorf("got %+v, %v", info, err)
	}
}

func compress(t testing.TB, kind string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch kind {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zstd":
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		return data
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCompressions(t *testing.T) {
	needRoot(t)
	plain := archive(t, file("f", strings.Repeat("slipway ", 1<<17)))
	want := fmt.Sprintf("sha256:%x", sha256.Sum256(plain))
	for _, kind := range []string{"plain", "gzip", "zstd"} {
		data := compress(t, kind, plain)
		t.Run(kind, func(t *testing.T) {
			info, err := unpack(t, newArena(t), data)
			if err != nil || info.DiffID.String() != want {
				t.Errorf("got %v, %v; want %v", info.DiffID, err, want)
			}
		})
		t.Run(kind+" cut short", func(t *testing.T) {
			_, err := unpack(t, newArena(t), data[:len(data)*2/3])
			if !errors.Is(err, layer.ErrInvalid) {
				t.Errorf("got %v", err)
			}
		})
		t.Run(kind+" and more", func(t *testing.T) {
			_, err := unpack(t, newArena(t), append(bytes.Clone(data), bytes.Repeat([]byte("garbage "), 1<<18)...))
			if !errors.Is(err, layer.ErrInvalid) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestBombs(t *testing.T) {
	needRoot(t)
	zeros := func(n int64) io.Reader {
		h := &tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Size: n, Format: tar.FormatPAX}
		r, w := io.Pipe()
		go func() {
			z, _ := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
			tw := tar.NewWriter(z)
			_ = tw.WriteHeader(h)
			_, err := io.CopyN(tw, zeroReader{}, n)
			_ = z.Close()
			w.CloseWithError(err)
		}()
		t.Cleanup(func() { r.Close() })
		return r
	}
	many := make([]tar.Header, 200)
	for i := range many {
		many[i] = file(fmt.Sprint("f", i), "")
	}
	for name, c := range map[string]struct {
		src    io.Reader
		limits layer.Limits
	}{
		"ratio":   {zeros(1 << 30), layer.Limits{}},
		"bytes":   {zeros(1 << 30), layer.Limits{Bytes: 1 << 20}},
		"entries": {bytes.NewReader(archive(t, many...)), layer.Limits{Entries: 100}},
		"implied": {bytes.NewReader(archive(t, file(strings.Repeat("d/", 200)+"x", ""))), layer.Limits{Entries: 100}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArena(t)
			_, err := layer.NewDecoder().Unpack(t.Context(), c.src, a.tree, c.limits)
			if !errors.Is(err, layer.ErrLimit) {
				t.Errorf("got %v", err)
			}
		})
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestDiskFloor(t *testing.T) {
	needRoot(t)
	a := newArena(t)
	data := archive(t, tar.Header{Name: "f", Typeflag: tar.TypeReg, Linkname: strings.Repeat("x", 65<<20)})
	_, err := layer.NewDecoder().Unpack(t.Context(), bytes.NewReader(data), a.tree, layer.Limits{MinFree: 1 << 62})
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %v", err)
	}
}

func TestSourceErrorIsKept(t *testing.T) {
	needRoot(t)
	for _, kind := range []string{"plain", "gzip", "zstd"} {
		data := compress(t, kind, archive(t, file("f", strings.Repeat("0123", 1<<15))))
		src := io.MultiReader(bytes.NewReader(data[:len(data)/2]), failing{io.ErrUnexpectedEOF})
		_, err := layer.NewDecoder().Unpack(t.Context(), src, newArena(t).tree, layer.Limits{})
		if errors.Is(err, layer.ErrInvalid) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: a broken connection was taken for a broken layer: %v", kind, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestInherit(t *testing.T) {
	needRoot(t)
	lower, upper := newArena(t), newArena(t)
	tmp, home := dir("tmp"), dir("home/u")
	tmp.Mode, home.Uid, home.Mode = 0o1777, 1000, 0o700
	if _, err := unpack(t, lower, archive(t, tmp, dir("home"), home, dir("gone"), link("etc", "home"))); err != nil {
		t.Fatal(err)
	}
	info, err := unpack(t, upper, archive(t, file("tmp/x", ""), file("home/u/y", ""), file("gone/z", ""),
		file("gone/.wh..wh..opq", ""), file("etc/w", ""), file("new/v", "")))
	if err != nil {
		t.Fatal(err)
	}
	if err := layer.Inherit(t.Context(), upper.tree, info.Implied, []string{lower.tree}); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]string{
		"tmp": "41777 0", "home/u": "40700 1000", "home": "40755 0", "gone": "40755 0", "etc": "40755 0", "new": "40755 0",
	} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(upper.tree, p), &st); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%o %d", st.Mode, st.Uid); got != want {
			t.Errorf("%s: got %s, want %s", p, got, want)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	needRoot(f)
	f.Add(archive(f, dir("d"), file("d/f", "x"), link("l", "../.."), file("l/secret", "x"), hard("h", "d/f")))
	f.Add(archive(f, file(".wh.x", ""), file("d/.wh..wh..opq", ""), dir("d")))
	f.Add(compress(f, "gzip", archive(f, file("f", "x"))))
	f.Add(compress(f, "zstd", archive(f, file("f", "x"))))
	f.Fuzz(func(t *testing.T, data []byte) {
		a := newArena(t)
		before := a.outside(t)
		_, _ = layer.NewDecoder().Unpack(t.Context(), bytes.NewReader(data), a.tree, layer.Limits{Bytes: 1 << 20, Entries: 1000})
		if after := a.outside(t); after != before {
			t.Errorf("the host changed:\n%s\nwas:\n%s", after, before)
		}
		if err := layer.Remove(t.Context(), a.tree); err != nil {
			t.Errorf("remove: %v", err)
		}
	})
}

// TestUnpackInheritsNothing: what lies in a directory that hands down its group
// or an ACL has the owner and the mode of its own entry all the same.
func TestUnpackInheritsNothing(t *testing.T) {
	needRoot(t)
	setgid := dir("g")
	setgid.Mode, setgid.Gid = 0o2775, 50
	acl := dir("a")
	acl.PAXRecords = map[string]string{"SCHILY.xattr.system.posix_acl_default": "\x02\x00\x00\x00" +
		"\x01\x00\x07\x00\xff\xff\xff\xff\x04\x00\x00\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff"}
	special := file("d/special", "s")
	special.Mode = 0o4755
	owned := file("d/owned", "o")
	owned.Uid, owned.Gid = 1000, 1000
	a := newArena(t)
	if _, err := layer.NewDecoder().Unpack(t.Context(), bytes.NewReader(archive(t,
		setgid, file("g/f", "1"), file("g/new/f", "2"), acl, file("a/f", "3"),
		dir("d"), file("d/f", "4"), special, owned, file("d/f", "5"),
		link("l", "d"), file("l/x", "6"), func() tar.Header { h := setgid; h.Name = "d"; return h }(), file("l/y", "7"),
	)), a.tree, layer.Limits{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"g/f": "100644 0:0", "g/new/f": "100644 0:0", "a/f": "100644 0:0", "d/f": "100644 0:0",
		"d/special": "104755 0:0", "d/owned": "100644 1000:1000", "d/x": "100644 0:0", "d/y": "100644 0:0",
	} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(a.tree, name), &st); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		if st.Mtim.Sec != 1_600_000_000 {
			t.Errorf("%s: mtime %d", name, st.Mtim.Sec)
		}
	}
}
