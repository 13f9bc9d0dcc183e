package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLockNamesTheHolder(t *testing.T) {
	root, state := filepath.Join(t.TempDir(), "a/root"), filepath.Join(t.TempDir(), "state")
	first, err := lockDirs(root, state)
	if err != nil {
		t.Fatal(err)
	}
	for _, dirs := range [][]string{{root}, {t.TempDir(), state}} {
		_, err := lockDirs(dirs...)
		want := fmt.Sprintf("pid %d", os.Getpid())
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dirs[len(dirs)-1]) {
			t.Errorf("lock of %v again: %v, want it to name the directory and %s", dirs, err, want)
		}
	}
	first.release()
	again, err := lockDirs(root, state)
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	again.release()
}

// One that fails in the middle keeps nothing.
func TestLockLetsGo(t *testing.T) {
	free, taken := t.TempDir(), t.TempDir()
	other, err := lockDirs(taken)
	if err != nil {
		t.Fatal(err)
	}
	defer other.release()
	if _, err := lockDirs(free, taken); err == nil {
		t.Fatal("a taken directory was locked")
	}
	held, err := lockDirs(free)
	if err != nil {
		t.Errorf("the free one is still locked: %v", err)
	}
	held.release()
}

func TestLockMakesPrivateDirs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	held, err := lockDirs(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer held.release()
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, lockFile): 0o600} {
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, fi.Mode().Perm(), want)
		}
	}
}
