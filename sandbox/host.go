package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/sys/capability"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"slipway/oci"
	"slipway/sandbox/linux"
)

// ProbeHost asks this machine, once, what it can offer to containers. ulimits
// are the default resource limits of the configuration.
func ProbeHost(ulimits []specs.POSIXRlimit) (oci.Host, error) {
	caps, resource, err := heldCapabilities()
	if err != nil {
		return oci.Host{}, fmt.Errorf("capabilities: %w", err)
	}
	h := oci.Host{
		Kernel:            kernelVersion(),
		Capabilities:      caps,
		ListDevices:       listDevices,
		Seccomp:           exists("/proc/sys/kernel/seccomp/actions_avail"),
		RecursiveReadonly: linux.RecursiveReadonly() == nil,
		SwapLimit:         exists("/sys/fs/cgroup/cgroup.controllers") || exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"),
		Hugetlb:           hasHugetlb(),
		Ulimits:           ulimits,
	}
	if h.Devices, err = listDevices("/dev"); err != nil {
		return oci.Host{}, err
	}
	if !resource { // lowering oom_score_adj below our own needs CAP_SYS_RESOURCE
		own, err := os.ReadFile("/proc/self/oom_score_adj")
		if err != nil {
			return oci.Host{}, err
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(own)))
		if err != nil {
			return oci.Host{}, fmt.Errorf("oom_score_adj: %w", err)
		}
		h.MinOOMScoreAdj = &n
	}
	return h, nil
}

// heldCapabilities are those that can be given: permitted and in the bounding
// set. resource says whether CAP_SYS_RESOURCE is among them.
func heldCapabilities() (names []string, resource bool, err error) {
	c, err := capability.NewPid2(0)
	if err != nil {
		return nil, false, err
	}
	if err := c.Load(); err != nil {
		return nil, false, err
	}
	known, err := capability.ListSupported()
	if err != nil {
		return nil, false, err
	}
	for _, k := range known {
		if c.Get(capability.PERMITTED, k) && c.Get(capability.BOUNDING, k) {
			names = append(names, "CAP_"+strings.ToUpper(k.String()))
			resource = resource || k == capability.CAP_SYS_RESOURCE
		}
	}
	return names, resource, nil
}

// kernelVersion is major and minor of the running kernel, zeros if unreadable.
func kernelVersion() [2]int {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	major, rest, _ := strings.Cut(string(b), ".")
	minor, _, _ := strings.Cut(rest, ".")
	var v [2]int
	v[0], _ = strconv.Atoi(major)
	v[1], _ = strconv.Atoi(minor)
	return v
}

func hasHugetlb() bool {
	b, _ := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	return strings.Contains(string(b), "hugetlb") || exists("/sys/fs/cgroup/hugetlb/cgroup.procs")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// notDevices are directories below /dev that hold other file systems or the
// terminals of other containers.
var notDevices = map[string]bool{"pts": true, "shm": true, "fd": true, "mqueue": true, "hugepages": true}

// listDevices gives the node at path, or all nodes below it if it is a directory.
func listDevices(path string) ([]specs.LinuxDevice, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		d, ok := deviceOf(path, info)
		if !ok {
			return nil, fmt.Errorf("%s: not a device", path)
		}
		return []specs.LinuxDevice{d}, nil
	}
	var all []specs.LinuxDevice
	err = filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
		if e.IsDir() {
			if filepath.Dir(name) == "/dev" && notDevices[e.Name()] {
				return fs.SkipDir
			}
			return nil
		}
		if name == "/dev/console" || e.Type()&fs.ModeDevice == 0 {
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return nil // it went away
		}
		if d, ok := deviceOf(name, info); ok {
			all = append(all, d)
		}
		return nil
	})
	return all, err
}

func deviceOf(path string, info fs.FileInfo) (specs.LinuxDevice, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode()&fs.ModeDevice == 0 {
		return specs.LinuxDevice{}, false
	}
	kind := "b"
	if info.Mode()&fs.ModeCharDevice != 0 {
		kind = "c"
	}
	mode, uid, gid := info.Mode().Perm(), st.Uid, st.Gid
	return specs.LinuxDevice{
		Path: path, Type: kind, FileMode: &mode, UID: &uid, GID: &gid,
		Major: int64(major(st.Rdev)), Minor: int64(minor(st.Rdev)),
	}, true
}

// major and minor take apart a device number as glibc does.
func major(dev uint64) uint32 { return uint32(dev>>8)&0xfff | uint32(dev>>32)&^0xfff }
func minor(dev uint64) uint32 { return uint32(dev)&0xff | uint32(dev>>12)&^0xff }
