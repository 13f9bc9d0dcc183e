package linux

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// SealedMemfd makes an anonymous file with this content that nobody can write,
// grow or shrink any more (CVE-2019-5736). The caller closes it.
func SealedMemfd(name string, content []byte) (int, error) {
	fd, err := memfd(name)
	if err != nil {
		return -1, err
	}
	if err := writeAll(fd, content); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("write memfd %q: %w", name, err)
	}
	if err := seal(fd); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("seal memfd %q: %w", name, err)
	}
	return fd, nil
}

// memfd makes a file that may be executed; kernels before 6.3 do not know the flag that says so.
func memfd(name string) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return -1, fmt.Errorf("memfd %q: %w", name, err)
	}
	return fd, nil
}

func seal(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS,
		unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	return err
}
