package oci

import (
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ErrInvalid is at the root of every error of this package: the request, or the
// image it names, asks for something that cannot be granted. The message names
// the field.
var ErrInvalid = errors.New("invalid request")

// RROUnsupportedError says that a recursive read-only mount is asked for and the
// kernel has none. The kubelet looks for the word that Error begins with at the
// start of the message. It is an ErrInvalid too.
type RROUnsupportedError struct {
	Destination string // of the mount, in the container
}

func (e *RROUnsupportedError) Error() string {
	return fmt.Sprintf("RROUnsupported: mount %q: the kernel cannot make a mount tree read-only (needs Linux 5.12)", e.Destination)
}

func (e *RROUnsupportedError) Unwrap() error { return ErrInvalid }

// ImageConfig is the part of an image's config that a container is made from.
type ImageConfig = ocispec.ImageConfig

// ContainerInput is everything that decides a container's spec.
type ContainerInput struct {
	// ID and PodID are our own ids, used in informative annotations only.
	ID, PodID string
	// Pod and Container are the CRI requests; neither is changed.
	Pod       *runtimeapi.PodSandboxConfig
	Container *runtimeapi.ContainerConfig
	// Image is hostile.
	Image ImageConfig
	// User is what LookupUser made of UserOf(Container, Image).
	User User
	Host Host
	// Hostname becomes $HOSTNAME: the pod's, or the node's on the host network.
	// Empty leaves it out.
	Hostname string
	// CgroupsPath is put into the spec as it is: parent + "/" + leaf.
	CgroupsPath string
	// Namespaces: path as shown in the spec for a joined one, "" for a new one,
	// absent for the host's. A mount namespace is always new.
	Namespaces map[specs.LinuxNamespaceType]string
	// Files are the pod's own files: /etc/hosts, /etc/resolv.conf,
	// /etc/hostname, /dev/shm. One that a CRI mount covers is left out; all but
	// /dev/shm become read-only with a read-only root.
	Files []BindFile
	// Volumes are the directories made for the image's VOLUMEs, see VolumePaths.
	Volumes []Volume
	// Seccomp is the content of the file that SeccompFile names; nil when it
	// names none.
	Seccomp []byte
	// CDI is what is to be done for the devices that CDIDevices names, in order.
	CDI []DeviceEdits
}

// BindFile is one file or directory of the pod, bound into each container.
type BindFile struct {
	Source, Destination string // absolute; host and container
	Readonly            bool
}

// Volume is a host directory that stands for a VOLUME of the image.
type Volume struct {
	Source, Destination string // absolute; host and container
}

// Host is what has to be known about the machine. The zero value describes one
// that can do nothing beyond plain containers and holds no capability.
type Host struct {
	// Arch is a GOARCH; empty means that of this binary.
	Arch string
	// Kernel is major and minor, 0.0 = new enough for everything.
	Kernel [2]int
	// Capabilities are the names ("CAP_CHOWN") that the runtime itself holds:
	// no container can have more.
	Capabilities []string
	// Devices are all device nodes of the host, for privileged containers.
	Devices []specs.LinuxDevice
	// WithoutDevices keeps them from privileged containers too; AnyDevice lets
	// those make and use the nodes of all devices even so.
	WithoutDevices, AnyDevice bool
	// ListDevices gives the node at a host path, or, for a directory, all nodes
	// below it, each with its host path in Path. nil: no devices can be given.
	ListDevices func(hostPath string) ([]specs.LinuxDevice, error)
	// Seccomp says that the kernel takes filters. Without it a profile that a
	// container asks for is an error, but for Unconfined.
	Seccomp bool
	// Socketcall keeps the 32-bit x86 socketcall(2) in the RuntimeDefault
	// profile. False blocks it with ENOSYS: a filter cannot see which address
	// family it asks for, so AF_ALG and AF_VSOCK would be open through it.
	Socketcall bool
	// RuntimeDefault reads the seccomp profile of that name; nil: moby's.
	RuntimeDefault func() ([]byte, error)
	// AppArmor is nil when the host has none.
	AppArmor *AppArmor
	// SELinux is nil when the host has none.
	SELinux *SELinux
	// RecursiveReadonly says that the kernel can make a mount tree read-only.
	RecursiveReadonly bool
	// SwapLimit says that a cgroup can limit swap; without it swap is left alone.
	SwapLimit bool
	// Hugetlb says that the hugetlb controller is there; without it a limit of 0
	// (the kubelet sends one for each page size) is left out.
	Hugetlb bool
	// MinOOMScoreAdj, when set, is the lowest value that the runtime may give;
	// lower requests are raised to it.
	MinOOMScoreAdj *int
	// Ulimits are the default resource limits; none leaves them as inherited.
	Ulimits []specs.POSIXRlimit
}

// AppArmor describes the host's AppArmor.
type AppArmor struct {
	Default string            // profile of RuntimeDefault; "" when it cannot be had
	Missing error             // why not
	Loaded  func(string) bool // is a profile of this name loaded?
}

// SELinux describes the host's SELinux: the labels that a container gets when
// its request says nothing; a request replaces parts of them.
type SELinux struct {
	Process, Mount string // user:role:type:level
}

// invalidError is an ErrInvalid whose text is only the cause: some messages are
// recognised by the kubelet by how they begin.
type invalidError struct{ cause error }

func (e *invalidError) Error() string   { return e.cause.Error() }
func (e *invalidError) Unwrap() []error { return []error{ErrInvalid, e.cause} }

func invalid(format string, args ...any) error {
	return &invalidError{cause: fmt.Errorf(format, args...)}
}

// inField names the field that an error is about.
func inField(field string, err error) error {
	if err == nil {
		return nil
	}
	return invalid("%s: %w", field, err)
}
