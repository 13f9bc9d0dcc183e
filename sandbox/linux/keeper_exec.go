package linux

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ExecFd replaces this program by the one in an open file, usually a sealed
// memfd: no path is needed. It returns only an error.
func ExecFd(fd int, argv, env []string) error {
	args, err := syscall.SlicePtrFromStrings(argv)
	if err != nil {
		return fmt.Errorf("execute: %w", err)
	}
	vars, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return fmt.Errorf("execute: %w", err)
	}
	empty := [1]byte{}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	syscall.ForkLock.Lock() // no clone between here and there
	defer syscall.ForkLock.Unlock()
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty[0])),
		uintptr(unsafe.Pointer(&args[0])), uintptr(unsafe.Pointer(&vars[0])), unix.AT_EMPTY_PATH, 0)
	runtime.KeepAlive(args)
	runtime.KeepAlive(vars)
	return fmt.Errorf("execute: %w", errno)
}
