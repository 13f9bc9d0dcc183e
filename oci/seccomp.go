package oci

import (
	"bytes"
	"encoding/json"
	"io"
	"runtime"
	"slices"
	"strings"
	"syscall"

	mobyseccomp "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxSeccompProfile bounds a Localhost profile, in bytes.
const maxSeccompProfile = 1 << 20

// seccompRequest gives what a container asks for. The old field
// seccomp_profile_path counts only when the new one is missing; neither means
// unconfined, and so does privileged.
func seccompRequest(sc *runtimeapi.LinuxContainerSecurityContext) (*runtimeapi.SecurityProfile, error) {
	unconfined := &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
	if sc.GetPrivileged() {
		return unconfined, nil
	}
	if p := sc.GetSeccomp(); p != nil {
		return p, checkSeccomp(p)
	}
	//lint:ignore SA1019 old clients send it
	old := sc.GetSeccompProfilePath()
	switch {
	case old == "" || old == "unconfined":
		return unconfined, nil
	case old == "runtime/default" || old == "docker/default":
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}, nil
	case strings.HasPrefix(old, localhostPrefix):
		p := &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: old}
		return p, checkSeccomp(p)
	default:
		return nil, invalid("seccomp_profile_path: unknown profile %q", old)
	}
}

const localhostPrefix = "localhost/"

func checkSeccomp(p *runtimeapi.SecurityProfile) error {
	switch p.GetProfileType() {
	case runtimeapi.SecurityProfile_RuntimeDefault, runtimeapi.SecurityProfile_Unconfined:
		return nil
	case runtimeapi.SecurityProfile_Localhost:
		return inField("seccomp.localhost_ref", checkAbsolute(profilePath(p)))
	default:
		return invalid("seccomp.profile_type: unknown value %d", p.GetProfileType())
	}
}

func profilePath(p *runtimeapi.SecurityProfile) string {
	return strings.TrimPrefix(p.GetLocalhostRef(), localhostPrefix)
}

// SeccompFile names the host file that holds the Localhost profile a container
// asks for; "" when it asks for none. Its content goes to ContainerInput.Seccomp.
func SeccompFile(c *runtimeapi.ContainerConfig) (string, error) {
	p, err := seccompRequest(c.GetLinux().GetSecurityContext())
	if err != nil || p.GetProfileType() != runtimeapi.SecurityProfile_Localhost {
		return "", err
	}
	return profilePath(p), nil
}

// seccompOf gives the profile of a container, nil for none. Whatever a request
// names and cannot be had is an error, never "unconfined" (CVE-2023-2431).
func seccompOf(in ContainerInput, caps *specs.LinuxCapabilities) (*specs.LinuxSeccomp, error) {
	p, err := seccompRequest(in.Container.GetLinux().GetSecurityContext())
	if err != nil || p.GetProfileType() == runtimeapi.SecurityProfile_Unconfined {
		return nil, err
	}
	if !in.Host.Seccomp {
		return nil, invalid("seccomp: the kernel has no filters")
	}
	facts := profileFacts{arch: in.Host.Arch, kernel: in.Host.Kernel, caps: caps.Bounding}
	if facts.arch == "" {
		facts.arch = runtime.GOARCH
	}
	name, text := profilePath(p), in.Seccomp
	if p.GetProfileType() == runtimeapi.SecurityProfile_RuntimeDefault {
		if in.Host.RuntimeDefault == nil {
			return facts.expand(runtimeDefault(in.Host.Socketcall))
		}
		if text, err = in.Host.RuntimeDefault(); err != nil {
			return nil, invalid("seccomp profile of RuntimeDefault: %w", err)
		}
		name = "RuntimeDefault"
	}
	profile, err := decodeProfile(text)
	if err != nil {
		return nil, invalid("seccomp profile %q: %w", name, err)
	}
	out, err := facts.expand(profile)
	if err != nil {
		return nil, invalid("seccomp profile %q: %w", name, err)
	}
	return out, nil
}

// runtimeDefault is the moby default profile. It allows socket(2) for all
// families but AF_ALG (CVE-2026-31431) and AF_VSOCK by three range rules: two
// "not equal" on one argument would allow everything. From 32-bit x86 the same
// sockets can be had through socketcall(2), whose arguments a filter cannot
// see; so that call is answered with ENOSYS, upon which C libraries use
// socket(2). Programs that know only socketcall need Host.Socketcall.
func runtimeDefault(socketcall bool) *mobyseccomp.Seccomp {
	p := mobyseccomp.DefaultProfile()
	if socketcall {
		return p
	}
	for _, rule := range p.Syscalls {
		rule.Names = slices.DeleteFunc(rule.Names, func(n string) bool { return n == "socketcall" })
	}
	enosys := uint(syscall.ENOSYS)
	p.Syscalls = append(p.Syscalls, &mobyseccomp.Syscall{LinuxSyscall: specs.LinuxSyscall{
		Names: []string{"socketcall"}, Action: specs.ActErrno, ErrnoRet: &enosys,
	}})
	return p
}

// decodeProfile reads a profile strictly: JSON of the runtime-spec, with moby's
// additions (archMap, includes, excludes, comment), and nothing else.
func decodeProfile(text []byte) (*mobyseccomp.Seccomp, error) {
	if len(text) > maxSeccompProfile {
		return nil, invalid("larger than %d bytes", maxSeccompProfile)
	}
	var p mobyseccomp.Seccomp
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		if err == io.EOF {
			return nil, invalid("empty")
		}
		return nil, invalid("%w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, invalid("text after the profile")
	}
	if p.DefaultAction == "" {
		return nil, invalid("no defaultAction")
	}
	if len(p.Architectures) > 0 && len(p.ArchMap) > 0 {
		return nil, invalid("architectures and archMap: only one can be given")
	}
	return &p, nil
}

// profileFacts decide which conditional rules of a profile apply.
type profileFacts struct {
	arch   string // GOARCH
	kernel [2]int // 0.0 = new
	caps   []string
}

// nativeArch maps a GOARCH to the name in archMap.
var nativeArch = map[string]specs.Arch{"amd64": specs.ArchX86_64, "arm64": specs.ArchAARCH64}

func (f profileFacts) expand(p *mobyseccomp.Seccomp) (*specs.LinuxSeccomp, error) {
	out := p.LinuxSeccomp
	out.Syscalls = nil
	for _, a := range p.ArchMap {
		if a.Arch == nativeArch[f.arch] {
			out.Architectures = append([]specs.Arch{a.Arch}, a.SubArches...)
		}
	}
	for i, rule := range p.Syscalls {
		if rule == nil {
			return nil, invalid("syscalls[%d] is null", i)
		}
		//lint:ignore SA1019 old profiles have one name
		names, name := rule.Names, rule.Name
		if name != "" {
			if len(names) > 0 {
				return nil, invalid("syscalls[%d]: name and names: only one can be given", i)
			}
			names = []string{name}
		}
		if f.excluded(rule.Excludes) || !f.included(rule.Includes) {
			continue
		}
		call := rule.LinuxSyscall
		call.Names = names
		out.Syscalls = append(out.Syscalls, call)
	}
	return &out, nil
}

// included says that all that a filter names is so.
func (f profileFacts) included(filter *mobyseccomp.Filter) bool {
	if filter == nil {
		return true
	}
	for _, c := range filter.Caps {
		if !slices.Contains(f.caps, c) {
			return false
		}
	}
	return (len(filter.Arches) == 0 || slices.Contains(filter.Arches, f.arch)) &&
		(filter.MinKernel == nil || f.atLeast(filter.MinKernel))
}

// excluded says that any that a filter names is so.
func (f profileFacts) excluded(filter *mobyseccomp.Filter) bool {
	if filter == nil {
		return false
	}
	return slices.Contains(filter.Arches, f.arch) ||
		slices.ContainsFunc(filter.Caps, func(c string) bool { return slices.Contains(f.caps, c) }) ||
		filter.MinKernel != nil && f.atLeast(filter.MinKernel)
}

func (f profileFacts) atLeast(v *mobyseccomp.KernelVersion) bool {
	major, minor := uint64(f.kernel[0]), uint64(f.kernel[1])
	return f.kernel == [2]int{} || major > v.Kernel || major == v.Kernel && minor >= v.Major
}
