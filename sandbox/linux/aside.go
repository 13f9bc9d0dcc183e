package linux

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// onThread runs f on a thread of its own that shares less with the others, as
// flags of unshare say, and ends with f.
func onThread(flags int, f func() (int, error)) (int, error) {
	type result struct {
		fd  int
		err error
	}
	done := make(chan result, 1)
	var run func()
	run = func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			go run() // the main thread would not end: hold it until another has done it
			r := <-done
			done <- r
			return
		}
		r := result{fd: -1}
		if r.err = unix.Unshare(flags); r.err != nil {
			r.err = fmt.Errorf("leave the other threads: %w", r.err)
		} else {
			r.fd, r.err = f()
		}
		done <- r
	}
	go run()
	r := <-done
	return r.fd, r.err
}

// Aside runs f on a thread that has a copy of the caller's mount namespace, from
// which nothing propagates back, and whose working directory is "/". What f
// mounts there is gone afterwards, except what it returns a descriptor of.
// Mounts behind descriptors that were opened outside are not of that namespace.
func Aside(f func() (int, error)) (int, error) {
	return onThread(unix.CLONE_NEWNS, func() (int, error) {
		attr := unix.MountAttr{Propagation: unix.MS_PRIVATE}
		if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &attr); err != nil {
			return -1, fmt.Errorf("make all mounts private: %w", err)
		}
		if err := unix.Chdir("/"); err != nil {
			return -1, err
		}
		return f()
	})
}

// attachAside puts a detached mount over "/" of a namespace made by Aside, where
// descriptors reach it and paths do not.
func attachAside(mount int) error {
	err := unix.MoveMount(mount, "", unix.AT_FDCWD, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	return nil
}

// ClonePart makes a copy, mounted nowhere, of a part of a detached mount; part
// is a descriptor in it. The mount can be used for nothing else afterwards:
// before Linux 6.15 only mounts of one's own namespace can be cloned, so it is
// attached aside.
func ClonePart(mount, part int) (int, error) {
	return Aside(func() (int, error) {
		if err := attachAside(mount); err != nil {
			return -1, err
		}
		return CloneTree(part, false)
	})
}
