package cgroup

import (
	"fmt"
	"path"
	"strings"
)

// The two drivers: who makes the leaves. With Systemd each leaf is a transient
// scope, which systemd knows and keeps the limits of.
const (
	Cgroupfs = "cgroupfs"
	Systemd  = "systemd"
)

const (
	sliceSuffix = ".slice"
	scopeSuffix = ".scope"
	// scopePrefix and an id make the name of a scope: node agents look for
	// "<anything>-<64 hexadecimal digits>.scope".
	scopePrefix = "slipway-"
)

// Place is the path of the leaf for id below parent. The parent's syntax
// decides: the last part of one of systemd's is a slice, whose name says where
// it lies ("a-b.slice" is "/a.slice/a-b.slice"), and its leaf is a scope.
//
// It takes what CheckParent took, whatever the driver was then: a pod lives on
// when the driver has been changed.
func Place(parent, id string) string {
	if dir, err := expandSlice(path.Base(parent)); err == nil {
		return path.Join(dir, scopePrefix+id+scopeSuffix)
	}
	return path.Join("/", parent, id)
}

// Names tells whether a path's leaf is that of id.
func Names(p, id string) bool {
	leaf := path.Base(p)
	return id != "" && (leaf == id || leaf == scopePrefix+id+scopeSuffix)
}

// CheckParent tells whether the driver can make leaves below a parent. The
// kubelet writes one of systemd's as a whole path, people as the slice's name.
func CheckParent(driver, parent string) error {
	base := path.Base(parent)
	slice := strings.HasSuffix(base, sliceSuffix)
	if driver != Systemd {
		if slice {
			return fmt.Errorf("cgroup parent %q is a slice of systemd, and the cgroup driver is cgroupfs: give a path such as /kubepods/pod1, or set cgroup_driver = \"systemd\" here and in the kubelet: %w", parent, ErrInvalid)
		}
		return nil
	}
	if !slice {
		return fmt.Errorf("cgroup parent %q is not a slice, and the cgroup driver is systemd: give a name such as kubepods-pod1.slice, or set cgroup_driver = \"cgroupfs\" here and in the kubelet: %w", parent, ErrInvalid)
	}
	dir, err := expandSlice(base)
	if err != nil {
		return fmt.Errorf("cgroup parent %q: %w", parent, err)
	}
	if at := path.Join("/", parent); at != "/"+base && at != dir {
		return fmt.Errorf("cgroup parent %q: systemd keeps %s at %q: %w", parent, base, dir, ErrInvalid)
	}
	return nil
}

// SliceOf is the slice that stands for a path of cgroupfs syntax: "/a/b" is
// "a-b.slice". A slice stands for itself.
func SliceOf(p string) string {
	if strings.HasSuffix(p, sliceSuffix) {
		return p
	}
	names := strings.FieldsFunc(p, func(r rune) bool { return r == '/' })
	for i, n := range names {
		names[i] = strings.ReplaceAll(n, "-", "_") // a dash is a level
	}
	return strings.Join(names, "-") + sliceSuffix
}

// expandSlice is where a slice lies: each dash in its name is a level.
func expandSlice(name string) (string, error) {
	bare, ok := strings.CutSuffix(name, sliceSuffix)
	if !ok || checkName(name) != nil || !unitName(bare) {
		return "", fmt.Errorf("%q is not the name of a slice: %w", name, ErrInvalid)
	}
	if bare == "-" {
		return "/", nil
	}
	dir, upTo := "/", ""
	for part := range strings.SplitSeq(bare, "-") {
		if part == "" {
			return "", fmt.Errorf("%q is not the name of a slice: an empty part: %w", name, ErrInvalid)
		}
		upTo += part
		dir = path.Join(dir, upTo+sliceSuffix)
		upTo += "-"
	}
	return dir, nil
}

// unitName tells whether s holds only what systemd allows in a unit's name.
func unitName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && !strings.ContainsRune(`:-_.\@`, r)
	})
}

// scopeOf gives the unit and its slice when the path is that of a scope of ours.
func scopeOf(p string) (unit, slice string, ok bool) {
	unit, slice = path.Base(p), path.Base(path.Dir(p))
	if strings.HasPrefix(unit, scopePrefix) && strings.HasSuffix(unit, scopeSuffix) {
		switch {
		case path.Dir(p) == "/":
			return unit, "-" + sliceSuffix, true
		case strings.HasSuffix(slice, sliceSuffix):
			return unit, slice, true
		}
	}
	return "", "", false
}
