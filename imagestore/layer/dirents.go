package layer

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// direntSize is how much of a directory is read at once.
const direntSize = 32 << 10

// A dirent is one name in a directory. Type is DT_UNKNOWN where the file
// system does not tell.
type dirent struct {
	name string
	typ  byte
}

// readDirents reads the next names of an open directory; none is the end.
// os.File.ReadDir would sort and keep all of them, and the directory may hold
// millions.
func readDirents(fd int, buf []byte) ([]dirent, error) {
	for {
		n, err := unix.Getdents(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return nil, err
		}
		if list := parseDirents(buf[:n]); len(list) > 0 {
			return list, nil
		}
	}
}

// parseDirents decodes struct linux_dirent64: ino 8, off 8, reclen 2, type 1,
// name.
func parseDirents(b []byte) []dirent {
	var list []dirent
	for len(b) >= 19 {
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size < 19 || size > len(b) {
			break
		}
		name := b[19:size]
		for i, c := range name {
			if c == 0 {
				name = name[:i]
				break
			}
		}
		if s := string(name); s != "." && s != ".." {
			list = append(list, dirent{s, b[18]})
		}
		b = b[size:]
	}
	return list
}

// isDir asks the file system where the entry does not say.
func (e dirent) isDir(dir int) (bool, error) {
	if e.typ != unix.DT_UNKNOWN {
		return e.typ == unix.DT_DIR, nil
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, e.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, err
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}
