package oci

import (
	"slices"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// mountOptions are the options that a request may add to a mount: those that
// take something away, and how access times are kept. What gives something (rw,
// exec, suid, dev), says where (bind, propagation), or belongs to a file system is
// the runtime's and the other fields' business.
var mountOptions = []string{
	"noexec", "nosuid", "nodev", "nosymfollow", "rnoexec", "rnosuid", "rnodev", "rnosymfollow",
	"noatime", "nodiratime", "relatime", "strictatime",
}

// checkMountOptions refuses what is not in mountOptions, and two options of
// which only one can hold.
func checkMountOptions(m *runtimeapi.Mount) error {
	atime := ""
	for _, o := range m.GetMountOptions() {
		if !slices.Contains(mountOptions, o) {
			return invalid("mount_options: %q is not one of %s", o, strings.Join(mountOptions, " "))
		}
		switch o {
		case "noatime", "relatime", "strictatime":
			if atime != "" && atime != o {
				return invalid("mount_options: %q and %q", atime, o)
			}
			atime = o
		}
	}
	return nil
}
