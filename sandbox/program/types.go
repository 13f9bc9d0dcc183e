package program

import (
	"errors"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Errors of the builders.
var (
	// ErrInvalid: the spec asks for what cannot be done.
	ErrInvalid = errors.New("invalid container spec")
	// ErrSourceMissing: the source of a mount is not there. The error is a *SourceError.
	ErrSourceMissing = errors.New("mount source does not exist")
	// ErrPropagation: a mount source lies on a mount that does not propagate as asked.
	ErrPropagation = errors.New("mount source does not propagate")
)

// Cgroup says where a process is born. All descriptors stay the caller's.
type Cgroup struct {
	Into  int   // directory of the cgroup2 group for CLONE_INTO_CGROUP; -1 = none
	Procs []int // tasks files of the v1 groups, open for writing
	// Gate is a socket at which the child waits, in its groups, until they are
	// known to whoever else has a part in them, see gate.go; 0 = none.
	Gate int
}

// Stdio are the descriptors that become 0, 1 and 2; -1 stands for the terminal
// where there is one, else for nothing, which is a mistake: pass /dev/null.
type Stdio struct{ In, Out, Err int }

// Root is a root file system as directories of the host.
type Root struct {
	Lower    []string // layers, the top one first
	Upper    string   // "" = a read-only view
	Work     string
	Readonly bool // the container may not write, though there is an upper directory
}

// Volume is one bind or image mount.
type Volume struct {
	Destination string // in the container

	// Source is a path of the host, symlinks followed; or Image is the root of
	// an image, mounted read-only, of which ImagePath ("" = all) is taken.
	Source    string
	Image     *Root
	ImagePath string

	Readonly          bool
	RecursiveReadonly bool   // read-only with everything mounted below
	Propagation       string // "" or "private", "slave", "shared", with an "r" in front or without
	NoSuid            bool
	NoDev             bool
	NoExec            bool
	MkdirMissing      bool // make Source, a directory with mode 0755, when nothing is there

	// Mapped: ids are seen as the user namespace Userns (a descriptor, the
	// caller's) maps them, in everything mounted below too.
	Mapped bool
	Userns int

	options mountOptions // of the mount of the spec that it stands for
}

// SourceError is a mount source that could not be opened.
type SourceError struct {
	Path string // of the host
	Err  error
}

func (e *SourceError) Error() string { return "mount source \"" + e.Path + "\": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *SourceError) Unwrap() error { return e.Err }

// Container builds the program of a container's first process.
type Container struct {
	// Spec is the OCI spec as recorded: process, mounts, masks, read-only paths,
	// devices, namespaces. Its seccomp and resource sections are not read.
	Spec *specs.Spec
	Root Root
	// Volumes are the bind and image mounts, in the order of Spec.Mounts. A bind
	// mount of the spec that is not among them is taken from the spec.
	Volumes []Volume
	// Join are the namespaces of the pod. A type that the spec names and Join
	// does not is made new, one that the spec does not name is the host's. A user
	// namespace is always joined; the maps of the spec are what it was made with.
	Join map[specs.LinuxNamespaceType]int
	// PidInit is a pidfd of PID 1 of the PID namespace to join; -1 = the spec decides.
	PidInit int
	// PidInitLocked: that PID 1 is a container in a user namespace. Its /proc is
	// taken with what lies on it, which is locked.
	PidInitLocked bool
	// Mappings are for mounts of the spec with id mappings other than the
	// container's own.
	Mappings []Mapping
	Cgroup   Cgroup
	Stdio    Stdio
	// Filter is a seccomp program (sock_filter array), FilterFlags those of seccomp(2).
	Filter      []byte
	FilterFlags uint
	OOMScoreAdj *int // nil: the spec's, else 0
	// Shm is the host path of the pod's tmpfs for /dev/shm; "" = the spec decides.
	Shm string
	// NoFile is the limit of open files (soft, hard) as the daemon found it; the Go
	// runtime has raised ours. Nil: left as it is. The spec's own limit wins.
	NoFile *[2]uint64
}

// path returns whether p is base or below it.
func below(p, base string) bool { return p == base || strings.HasPrefix(p, base+"/") }
