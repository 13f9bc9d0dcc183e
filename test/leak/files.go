package leak

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// cgroups: every directory below the scope's.
func cgroups(_ context.Context, scope Scope, s Snapshot) error {
	for _, dir := range scope.Cgroups {
		if err := walk(dir, func(path string, d fs.DirEntry) {
			if d.IsDir() && path != dir {
				s["cgroup: "+path] = ""
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

// files: every file and directory below the scope's.
func files(_ context.Context, scope Scope, s Snapshot) error {
	for _, dir := range scope.Dirs {
		if err := walk(dir, func(path string, _ fs.DirEntry) {
			if path != dir {
				s["file: "+path] = ""
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

// walk visits what is there; what vanishes meanwhile is no error.
func walk(dir string, visit func(string, fs.DirEntry)) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		}
		visit(path, d)
		return nil
	})
}

// sysctls: every readable value that no idle kernel changes by itself. Those
// of single network interfaces come and go with the interfaces.
func sysctls(_ context.Context, _ Scope, s Snapshot) error {
	return filepath.WalkDir("/proc/sys", func(path string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, "/proc/sys/")
		switch {
		case err != nil, restless.MatchString(name):
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return nil
		}
		if data, err := os.ReadFile(path); err == nil {
			s["sysctl: "+name] = strings.TrimSpace(string(data))
		}
		return nil
	})
}

var restless = regexp.MustCompile(`^(net/ipv[46]/(conf|neigh)/` +
	`|net/ipv[46]/route/` +
	`|net/netfilter/nf_conntrack_(count|buckets)$` +
	`|fs/(dentry-state|file-nr|inode-nr|inode-state|aio-nr|quota/.*|binfmt_misc)$` +
	`|fs/binfmt_misc` +
	`|kernel/(ns_last_pid|random|pty/nr|keys/gc_delay|perf_.*|sched_.*|tainted|hostname)` +
	`|kernel/random/.*` +
	`|vm/(stat_refresh|drop_caches|compact_memory|min_free_kbytes|lowmem_reserve_ratio))`)
