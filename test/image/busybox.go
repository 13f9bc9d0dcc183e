package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrNoBusybox says that no dynamic busybox was found.
var ErrNoBusybox = errors.New("no dynamic busybox (hack/install.sh fetches Debian's)")

// findBusybox returns the first of the candidates that is a dynamic ELF file.
func findBusybox(candidates []string) (string, error) {
	for _, file := range candidates {
		f, err := elf.Open(file)
		if err != nil {
			continue
		}
		libs, err := f.ImportedLibraries()
		f.Close()
		if err == nil && len(libs) > 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("%w; looked at %s", ErrNoBusybox, strings.Join(candidates, ", "))
}

// busyboxTree is a small Debian-like root: the busybox at file, a hard link for
// each applet, the C library it needs, and the usual files of /etc.
func busyboxTree(file string) (tree, error) {
	t := tree{}
	for _, d := range []string{"dev", "etc", "home", "mnt", "proc", "root", "sys", "usr", "usr/bin", "usr/sbin", "var", "var/log", "var/run"} {
		t.dir(d, 0o755)
	}
	t.dir("tmp", 0o1777)
	if err := t.copy("bin/busybox", 0o755, file); err != nil {
		return nil, err
	}
	out, err := exec.Command(file, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list the applets of %q: %w", file, err)
	}
	for _, applet := range strings.Fields(string(out)) {
		if applet != "busybox" {
			t.hard("bin/"+applet, "bin/busybox")
		}
	}
	if err := addLibraries(t, file); err != nil {
		return nil, err
	}
	t.file("etc/passwd", 0o644, passwd)
	t.file("etc/group", 0o644, group)
	t.file("etc/hostname", 0o644, "image\n")
	return t, nil
}

const passwd = `root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
`

const group = `root:x:0:
daemon:x:1:
www-data:x:33:
users:x:100:
nobody:x:65534:
`

// addLibraries copies what the dynamic loader will look for, to the paths
// where it will look: the interpreter, and each needed library.
func addLibraries(t tree, file string) error {
	done := map[string]bool{}
	queue := []string{file}
	for len(queue) > 0 {
		f, err := elf.Open(queue[0])
		if err != nil {
			return fmt.Errorf("read %q: %w", queue[0], err)
		}
		queue = queue[1:]
		libs, err := f.ImportedLibraries()
		interp := interpreter(f)
		f.Close()
		if err != nil {
			return err
		}
		if interp != "" && !done[interp] {
			done[interp] = true
			if err := t.copy(strings.TrimPrefix(interp, "/"), 0o755, interp); err != nil {
				return err
			}
		}
		for _, lib := range libs {
			if done[lib] || lib == filepath.Base(interp) {
				continue
			}
			done[lib] = true
			host, err := findLibrary(lib)
			if err != nil {
				return err
			}
			if err := t.copy(strings.TrimPrefix(host, "/"), 0o644, host); err != nil {
				return err
			}
			queue = append(queue, host)
		}
	}
	return nil
}

func interpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b := make([]byte, p.Filesz)
			if _, err := p.ReadAt(b, 0); err == nil {
				return strings.TrimRight(string(b), "\x00")
			}
		}
	}
	return ""
}

// findLibrary looks where Debian's loader does without a cache.
func findLibrary(name string) (string, error) {
	for _, pattern := range []string{"/lib/*-linux-gnu/", "/usr/lib/*-linux-gnu/", "/lib64/", "/lib/", "/usr/lib/"} {
		found, _ := filepath.Glob(pattern + name)
		for _, f := range found {
			if fi, err := os.Stat(f); err == nil && fi.Mode().IsRegular() {
				return f, nil
			}
		}
	}
	return "", fmt.Errorf("library %q not found on this machine", name)
}
