package blob

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// TmpPrefix begins the name of every file that is not yet what it will be.
// Whoever opens a directory of records removes such leftovers.
const TmpPrefix = ".tmp-"

// WriteFile puts data at path, whole or not at all, whenever this process dies:
// temporary file, rename. It is not synced, so a power cut may lose or tear it,
// and whoever reads it must be able to tell. Mode 0600.
func WriteFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, TmpPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

// Remove removes a file; one that is not there is removed already. It is not
// synced: a removal that a power cut undoes is done again.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory %q: %w", dir, err)
	}
	return nil
}

// SyncFS makes everything on the file system of d durable. One call for a
// layer costs a fifth of an fsync per file. It tells of every error since d was
// opened, or since the last call; keep d open.
func SyncFS(d *os.File) error {
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync file system of %q: %w", d.Name(), err)
	}
	return nil
}

// CleanTmp removes what WriteFile left in dir when the process died.
func CleanTmp(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), TmpPrefix) && e.Type().IsRegular() {
			if err := Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// Free returns the space in bytes that is left for use on the file system of
// dir.
func Free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %q: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}
