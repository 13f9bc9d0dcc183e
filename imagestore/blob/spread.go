package blob

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// topDir is FS_TOPDIR_FL of linux/fs.h.
const topDir = 0x00020000

// Spread tells the file system that the directories in dir have nothing to do
// with each other. ext4 then looks for a place of its own for each of them,
// where it would otherwise put all of their files next to dir's: layers that
// are unpacked at the same time stay out of each other's way, and a new one
// stays out of the gaps that a removed one has left, among which ext4 without
// a journal searches for minutes (20,000 files took 4.6 s at best,
// and 1.0 s with the mark). Other file systems do not know the mark, and need none.
func Spread(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	flags, err := unix.IoctlGetInt(int(d.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil || flags&topDir != 0 {
		return nil
	}
	if err := unix.IoctlSetPointerInt(int(d.Fd()), unix.FS_IOC_SETFLAGS, flags|topDir); err != nil {
		return fmt.Errorf("spread %q: %w", dir, err)
	}
	return nil
}
