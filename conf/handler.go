package conf

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// handlersKey is the table of the handlers.
const handlersKey = "handlers"

// Handler is a named configuration of containers: what a RuntimeClass names as
// its handler. A field that is not set leaves what holds for every pod.
type Handler struct {
	PrivilegedWithoutHostDevices bool     // privileged containers get no device nodes of the host
	PrivilegedAllDevicesAllowed  bool     // with the one above: they may make and open any
	SeccompProfile               string   // file that stands for RuntimeDefault
	AppArmorProfile              string   // loaded profile that stands for RuntimeDefault
	DefaultUlimits               []Ulimit // nil: those of every pod
}

// handlerKey describes one setting of a handler, as key does for all.
type handlerKey struct {
	name  string
	doc   string
	field func(h *Handler) any
	check func(h *Handler) error
}

func handlerKeys() []handlerKey {
	return []handlerKey{
		{
			name:  "privileged_without_host_devices",
			doc:   "Privileged containers get no device nodes of the host, and may use only\nthe devices that they ask for.",
			field: func(h *Handler) any { return &h.PrivilegedWithoutHostDevices },
			check: func(*Handler) error { return nil },
		},
		{
			name:  "privileged_without_host_devices_all_devices_allowed",
			doc:   "With the key above: they may make and use the node of any device.",
			field: func(h *Handler) any { return &h.PrivilegedAllDevicesAllowed },
			check: func(h *Handler) error {
				if h.PrivilegedAllDevicesAllowed && !h.PrivilegedWithoutHostDevices {
					return errors.New("means something only with privileged_without_host_devices = true")
				}
				return nil
			},
		},
		{
			name:  "seccomp_profile",
			doc:   "File with the seccomp profile that RuntimeDefault means. Read at each\ncreation of a container; one that is missing or bad refuses it.",
			field: func(h *Handler) any { return &h.SeccompProfile },
			check: func(h *Handler) error { return checkOptional(h.SeccompProfile, checkPath) },
		},
		{
			name:  "apparmor_profile",
			doc:   "Loaded AppArmor profile that RuntimeDefault means.",
			field: func(h *Handler) any { return &h.AppArmorProfile },
			check: func(h *Handler) error { return checkOptional(h.AppArmorProfile, checkProfileName) },
		},
		{
			name:  "default_ulimits",
			doc:   "As the key of that name above, in place of it.",
			field: func(h *Handler) any { return &h.DefaultUlimits },
			check: func(h *Handler) error { return checkUlimits(h.DefaultUlimits) },
		},
	}
}

func handlerKeyNames() []string {
	var names []string
	for _, k := range handlerKeys() {
		names = append(names, k.name)
	}
	return names
}

// handler finds a handler, or makes it.
func (c *Config) handler(name string) *Handler {
	if c.Handlers == nil {
		c.Handlers = map[string]*Handler{}
	}
	if c.Handlers[name] == nil {
		c.Handlers[name] = &Handler{}
	}
	return c.Handlers[name]
}

// HandlerNames returns the names of all handlers, sorted; the default one, "",
// is not among them.
func (c Config) HandlerNames() []string { return slices.Sorted(maps.Keys(c.Handlers)) }

// label is what Kubernetes takes as a handler of a RuntimeClass (RFC 1123).
var label = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

func checkHandlerName(name string) error {
	if !label.MatchString(name) {
		return errors.New("is no name of a handler: at most 63 lower-case letters, digits and dashes, as in a RuntimeClass")
	}
	return nil
}

// checkHandlers checks every handler; each fault names handler, key and place.
func (c Config) checkHandlers() []error {
	var faults []error
	for _, name := range c.HandlerNames() {
		h := c.Handlers[name]
		for _, k := range handlerKeys() {
			if err := k.check(h); err != nil {
				full := handlersKey + "." + name + "." + k.name
				faults = append(faults, fmt.Errorf("%s%s = %s: %w", at(c.origin[full]), full, render(k.field(h)), err))
			}
		}
	}
	return faults
}

func checkOptional(value string, check func(string) error) error {
	if value == "" {
		return nil
	}
	return check(value)
}

func checkProfileName(name string) error {
	if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return errors.New("holds a control character: remove it")
	}
	return nil
}
