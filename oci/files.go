package oci

import (
	"bytes"
	"net/netip"
	"path"
	"path/filepath"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// LogPath joins a pod's log directory and a container's log path; "" when
// either is empty (no log is kept). The path must be relative, clean and stay
// below the directory (CVE-2025-0750).
func LogPath(logDirectory, logPath string) (string, error) {
	if logDirectory == "" || logPath == "" {
		return "", nil
	}
	if err := checkAbsolute(logDirectory); err != nil {
		return "", inField("log_directory", err)
	}
	if err := checkPath(logPath); err != nil {
		return "", inField("log_path", err)
	}
	if hasControl(logPath) || logPath == "." || !filepath.IsLocal(logPath) || path.Clean(logPath) != logPath {
		return "", invalid("log_path: %q is not a plain path below the log directory", logPath)
	}
	return path.Join(logDirectory, logPath), nil
}

// ResolvConf gives a pod's resolv.conf: a nil dns is the host's file as it is;
// else what dns says, be it nothing.
func ResolvConf(dns *runtimeapi.DNSConfig, host []byte) ([]byte, error) {
	if dns == nil {
		return host, nil
	}
	if err := checkDNS(dns); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if s := dns.GetSearches(); len(s) > 0 {
		b.WriteString("search " + strings.Join(s, " ") + "\n")
	}
	for _, s := range dns.GetServers() {
		b.WriteString("nameserver " + s + "\n")
	}
	if o := dns.GetOptions(); len(o) > 0 {
		b.WriteString("options " + strings.Join(o, " ") + "\n")
	}
	return b.Bytes(), nil
}

// isAddress takes an IP address; its zone, which may be any text to netip, must
// be a plain interface name.
func isAddress(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && onlyNameBytes(a.Zone())
}

// checkDNS keeps what would add a line or a word out of resolv.conf.
func checkDNS(dns *runtimeapi.DNSConfig) error {
	for _, s := range dns.GetServers() {
		if !isAddress(s) {
			return invalid("dns_config.servers: %q is not an address", s)
		}
	}
	for _, s := range dns.GetSearches() {
		if s == "" || len(s) > maxName+1 || !onlyNameBytes(s) {
			return invalid("dns_config.searches: %q is not a domain", s)
		}
	}
	for _, s := range dns.GetOptions() {
		if s == "" || len(s) > maxName || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return invalid("dns_config.options: %q is not an option", s)
		}
	}
	return nil
}

// Hosts gives an /etc/hosts for a pod that brings none: localhost and the
// pod's name at its addresses.
func Hosts(hostname string, ips []string) ([]byte, error) {
	if err := checkHostname(hostname); err != nil {
		return nil, inField("hostname", err)
	}
	var b bytes.Buffer
	b.WriteString("127.0.0.1\tlocalhost\n" +
		"::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::\tip6-localnet\n" +
		"ff00::\tip6-mcastprefix\n" +
		"ff02::1\tip6-allnodes\n" +
		"ff02::2\tip6-allrouters\n")
	for _, ip := range ips {
		if !isAddress(ip) {
			return nil, invalid("address %q of the pod", ip)
		}
		if hostname != "" {
			b.WriteString(ip + "\t" + hostname + "\n")
		}
	}
	return b.Bytes(), nil
}
