package cni

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/containernetworking/cni/pkg/utils"
)

// Pod is what the plugins are told about a pod.
type Pod struct {
	ID              string // the pod sandbox's, and the plugins' container id
	Name, Namespace string
	UID             string
	NetNS           string // path of the pinned network namespace
	CgroupParent    string // as the kubelet gave it; may be empty
	Labels          map[string]string
	Annotations     map[string]string // bandwidth is read from them
	Ports           []PortMapping
	DNS             DNS
}

// PortMapping asks for a port of the host. The JSON form is that of the
// portMappings capability.
type PortMapping struct {
	HostPort      int32  `json:"hostPort"`
	ContainerPort int32  `json:"containerPort"`
	Protocol      string `json:"protocol"` // tcp, udp or sctp; any case
	HostIP        string `json:"hostIP,omitempty"`
}

// DNS is the pod's resolver configuration. The JSON form is that of the dns
// capability.
type DNS struct {
	Servers  []string `json:"servers,omitempty"`
	Searches []string `json:"searches,omitempty"`
	Options  []string `json:"options,omitempty"`
}

// podName is wider than Kubernetes' own rule (tools use upper case) and still
// free of what separates arguments in CNI_ARGS.
var podName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

const podNameLimit = 253

func (p Pod) check() error {
	if err := utils.ValidateContainerID(p.ID); err != nil {
		return fmt.Errorf("pod id %q: %w: %w", p.ID, ErrInvalid, err)
	}
	if p.Name == "" {
		return fmt.Errorf("pod %q: %w: no name", p.ID, ErrInvalid)
	}
	for _, f := range []struct{ what, value string }{
		{"name", p.Name}, {"namespace", p.Namespace}, {"uid", p.UID},
	} {
		// A ";" or "=" would become an argument of its own, such as another
		// interface name.
		if f.value != "" && (len(f.value) > podNameLimit || !podName.MatchString(f.value)) {
			return fmt.Errorf("pod %s %q: %w: want letters, digits, '.', '_', '-', at most %d", f.what, f.value, ErrInvalid, podNameLimit)
		}
	}
	if !strings.HasPrefix(p.NetNS, "/") || strings.ContainsRune(p.NetNS, 0) {
		return fmt.Errorf("pod %q: %w: network namespace %q is not an absolute path", p.ID, ErrInvalid, p.NetNS)
	}
	return nil
}

// args are the pairs of CNI_ARGS. IgnoreUnknown lets plugins pass over the
// ones they do not know.
func (p Pod) args() [][2]string {
	return [][2]string{
		{"IgnoreUnknown", "1"},
		{"K8S_POD_NAMESPACE", p.Namespace},
		{"K8S_POD_NAME", p.Name},
		{"K8S_POD_INFRA_CONTAINER_ID", p.ID},
		{"K8S_POD_UID", p.UID},
	}
}

// capabilities are the values a plugin gets when its configuration asks for
// them, under the names containerd uses.
func (p Pod) capabilities() (map[string]json.RawMessage, error) {
	values := map[string]any{}
	if len(p.Annotations) > 0 {
		values["io.kubernetes.cri.pod-annotations"] = p.Annotations
	}
	ports, err := p.portMappings()
	if err != nil {
		return nil, err
	}
	if len(ports) > 0 {
		values["portMappings"] = ports
	}
	limit, err := bandwidthOf(p.Annotations)
	if err != nil {
		return nil, err
	}
	if limit != nil {
		values["bandwidth"] = limit
	}
	if len(p.DNS.Servers)+len(p.DNS.Searches)+len(p.DNS.Options) > 0 {
		values["dns"] = p.DNS
	}
	if p.CgroupParent != "" {
		values["cgroupPath"] = p.CgroupParent
	}
	raw := make(map[string]json.RawMessage, len(values))
	for k, v := range values {
		if raw[k], err = json.Marshal(v); err != nil {
			return nil, fmt.Errorf("capability %q: %w", k, err)
		}
	}
	return raw, nil
}

// portMappings leaves out the ports that do not ask for a port of the host.
func (p Pod) portMappings() ([]PortMapping, error) {
	var out []PortMapping
	for _, m := range p.Ports {
		if m.HostPort == 0 {
			continue
		}
		m.Protocol = strings.ToLower(m.Protocol)
		switch m.Protocol {
		case "":
			m.Protocol = "tcp"
		case "tcp", "udp", "sctp":
		default:
			return nil, fmt.Errorf("host port %d: %w: protocol %q is not tcp, udp or sctp", m.HostPort, ErrInvalid, m.Protocol)
		}
		if !isPort(m.HostPort) || !isPort(m.ContainerPort) {
			return nil, fmt.Errorf("host port %d to %d: %w: ports are 1 to 65535", m.HostPort, m.ContainerPort, ErrInvalid)
		}
		if m.HostIP != "" {
			if _, err := netip.ParseAddr(m.HostIP); err != nil {
				return nil, fmt.Errorf("host port %d: %w: host ip %q: not an address", m.HostPort, ErrInvalid, m.HostIP)
			}
		}
		out = append(out, m)
	}
	return out, nil
}

func isPort(p int32) bool { return p > 0 && p <= 65535 }
