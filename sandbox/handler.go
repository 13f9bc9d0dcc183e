package sandbox

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"slipway/oci"
)

// Handler is a named configuration of containers, as a RuntimeClass chooses it.
// The zero value changes nothing.
type Handler struct {
	WithoutDevices  bool                // privileged containers get no device nodes of the host
	AnyDevice       bool                // with it: they may make and use any
	SeccompProfile  string              // file that stands for RuntimeDefault; read at each creation
	AppArmorProfile string              // loaded profile that stands for RuntimeDefault
	Ulimits         []specs.POSIXRlimit // nil: those of the host
}

// checkHandler finds a handler by the name that a pod asks for; "" is there
// always. Users look for the words of the message.
func (p *Pods) checkHandler(name string) error {
	if _, ok := p.o.Handlers[name]; ok || name == "" {
		return nil
	}
	known := "there are none but the default, \"\""
	if names := slices.Sorted(maps.Keys(p.o.Handlers)); len(names) > 0 {
		known = `there are "` + strings.Join(names, `", "`) + `"`
	}
	return fmt.Errorf("no runtime for %q is configured: %s; [handlers.%s] in the configuration of slipway makes one: %w", name, known, name, ErrInvalid)
}

// hostOf is what this host offers to the containers of a pod: its handler may
// change parts. A handler that was taken out of the configuration leaves the
// pod's containers alone and refuses new ones: it may have confined them.
func (p *Pods) hostOf(s *pod) (oci.Host, error) {
	if err := p.checkHandler(s.handler); err != nil {
		return oci.Host{}, err
	}
	host, h := p.o.Host, p.o.Handlers[s.handler]
	host.WithoutDevices, host.AnyDevice = h.WithoutDevices, h.AnyDevice
	if h.Ulimits != nil {
		host.Ulimits = h.Ulimits
	}
	if path := h.SeccompProfile; path != "" {
		host.RuntimeDefault = func() ([]byte, error) { return readSeccomp(path) }
	}
	if h.AppArmorProfile != "" {
		if host.AppArmor == nil {
			return oci.Host{}, fmt.Errorf("runtime handler %q wants the AppArmor profile %q, and the host has no AppArmor: %w", s.handler, h.AppArmorProfile, ErrInvalid)
		}
		a := *host.AppArmor
		a.Default, a.Missing = h.AppArmorProfile, nil
		host.AppArmor = &a
	}
	return host, nil
}

// readSeccomp reads a seccomp profile of the host.
func readSeccomp(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxProfile {
		return nil, fmt.Errorf("%q: not a regular file of at most %d bytes", path, maxProfile)
	}
	return io.ReadAll(io.LimitReader(f, maxProfile))
}
