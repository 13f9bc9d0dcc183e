package cgroup

import (
	"fmt"
	"path"
	"strings"
)

// parsePath checks a group path: absolute, clean, and never a hierarchy's root,
// because everything below a Group may be killed and removed.
func parsePath(p string) (parent, leaf string, err error) {
	if p == "" || p[0] != '/' || path.Clean(p) != p || p == "/" {
		return "", "", fmt.Errorf("cgroup path %q: not absolute and clean, or a root: %w", p, ErrInvalid)
	}
	for name := range strings.SplitSeq(p[1:], "/") {
		if err := checkName(name); err != nil {
			return "", "", fmt.Errorf("cgroup path %q: %w", p, err)
		}
	}
	parent, leaf = path.Split(p)
	return path.Clean(parent), leaf, nil
}

// checkName checks one component. The kernel refuses a line feed as well.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > 255 || strings.ContainsAny(name, "/\n\x00") {
		return fmt.Errorf("name %q: %w", name, ErrInvalid)
	}
	return nil
}
