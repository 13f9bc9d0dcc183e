package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// lockFile is the name of the lock in root and in state.
const lockFile = "daemon.lock"

// locks are held by one daemon for as long as it lives; the kernel drops them
// with its last file descriptor.
type locks []*os.File

// lockDirs makes the directories, private to root, and locks each. A lock
// that another holds is an error that names the holder.
func lockDirs(dirs ...string) (held locks, err error) {
	defer func() {
		if err != nil {
			held.release()
			held = nil
		}
	}()
	for _, dir := range dirs {
		f, err := lockDir(dir)
		if err != nil {
			return held, err
		}
		held = append(held, f)
	}
	return held, nil
}

// lockPatience is for what a daemon that was killed had just forked: the child
// has a copy of the lock until its execve.
const lockPatience = 2 * time.Second

// flock takes the lock, or says EWOULDBLOCK once its holder has shown to be no
// passing one.
func flock(f *os.File) error {
	for end := time.Now().Add(lockPatience); ; time.Sleep(10 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(end) {
			return err
		}
	}
}

func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = flock(f)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder := holderOf(f)
		return nil, errors.Join(fmt.Errorf("%s is in use by another slipway, %s: stop it, or give this one its own --root, --state and --listen", dir, holder), f.Close())
	}
	if err == nil {
		err = writePid(f)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

// writePid leaves our number for the message above; the lock itself is the truth.
func writePid(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func holderOf(f *os.File) string {
	b, _ := io.ReadAll(io.LimitReader(f, 32))
	if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
		return fmt.Sprintf("pid %d", pid)
	}
	return "pid unknown"
}

func (l locks) release() {
	for _, f := range l {
		_ = f.Close() // only the lock was of use
	}
}
