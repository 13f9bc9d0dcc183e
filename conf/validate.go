package conf

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

const (
	unixScheme  = "unix://"
	socketLimit = 107 // bytes: sun_path less its final zero
)

// Validate checks every value and how they stand to each other. The error
// holds one line for each fault: key, value, where it was set, what to do.
func (c Config) Validate() error {
	var faults []error
	for _, k := range keys() {
		if err := k.check(&c); err != nil {
			faults = append(faults, c.fault(k.name, err))
		}
	}
	faults = append(faults, c.checkHandlers()...)
	if len(faults) == 0 && within(c.Root, c.State) {
		faults = append(faults, c.fault("state", fmt.Errorf("is in root = %q: choose two separate directories", c.Root)))
	}
	if len(faults) == 0 && within(c.State, c.Root) {
		faults = append(faults, c.fault("root", fmt.Errorf("is in state = %q, which a reboot empties: choose two separate directories", c.State)))
	}
	return errors.Join(faults...)
}

// fault names the key, its value and the place where it was set.
func (c Config) fault(name string, err error) error {
	k, _ := findKey(name)
	return fmt.Errorf("%s%s = %s: %w", at(c.origin[name]), name, render(k.field(&c)), err)
}

// at is a place in front of a message.
func at(origin string) string {
	if origin == "" {
		return ""
	}
	return origin + ": "
}

// within tells whether path is dir or below it.
func within(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

func checkPath(path string) error {
	switch {
	case path == "":
		return errors.New("is empty: give an absolute path")
	case !strings.HasPrefix(path, "/"):
		return errors.New("is not an absolute path: let it begin with /")
	case strings.ContainsFunc(path, unicode.IsControl):
		return errors.New("holds a control character: remove it")
	case filepath.Clean(path) != path:
		return fmt.Errorf("is not the shortest form: write %q", filepath.Clean(path))
	case path == "/":
		return errors.New("is the whole machine: give a directory of its own")
	}
	return nil
}

func checkListen(listen string) error {
	path, ok := strings.CutPrefix(listen, unixScheme)
	if !ok {
		return errors.New("is not a unix socket: write unix:///run/slipway/slipway.sock, or another absolute path")
	}
	if err := checkPath(path); err != nil {
		return err
	}
	return checkSocket(path)
}

func checkSocket(path string) error {
	if len(path) > socketLimit {
		return fmt.Errorf("makes a socket path of %d bytes, and %d is the most the kernel takes: choose a shorter one", len(path), socketLimit)
	}
	return nil
}

// checkState measures the longest name of a socket that is made in it.
func checkState(path string) error {
	if err := checkPath(path); err != nil {
		return err
	}
	return checkSocket(path + "/keeper.sock")
}

func checkBinDirs(dirs []string) error {
	if len(dirs) == 0 {
		return errors.New("is empty: no plugin could be found; name at least one directory")
	}
	for _, d := range dirs {
		if err := checkPath(d); err != nil {
			return fmt.Errorf("%q %w", d, err)
		}
		if strings.Contains(d, ":") {
			return fmt.Errorf("%q holds a colon, which separates directories in CNI_PATH: rename it", d)
		}
	}
	return nil
}

func checkGroup(group string) error {
	if n, err := strconv.ParseInt(group, 10, 64); err == nil && (n < 0 || n > 1<<32-2) {
		return errors.New("is not a group number")
	}
	if strings.ContainsFunc(group, unicode.IsSpace) || strings.ContainsAny(group, ":,/") {
		return errors.New("is not a group name")
	}
	return nil
}

func checkWord(word string, words ...string) error {
	if slices.Contains(words, word) {
		return nil
	}
	return fmt.Errorf("is none of %s", strings.Join(words, ", "))
}

func checkImage(image string) error {
	if image == "" || strings.ContainsFunc(image, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return errors.New("is not an image name: write one such as registry.k8s.io/pause:3.10.2")
	}
	return nil
}

// checkCgroup takes a path, or a slice where systemd keeps the cgroups.
func checkCgroup(parent string) error {
	if strings.HasSuffix(parent, ".slice") && !strings.Contains(parent, "/") {
		return nil
	}
	if err := checkPath(parent); err != nil {
		return err
	}
	return nil
}

func checkAbsent(a Absent) error {
	for _, p := range a {
		if p == "/" {
			continue
		}
		if err := checkPath(p); err != nil {
			return fmt.Errorf("%q %w", p, err)
		}
	}
	return nil
}

func checkUlimits(limits []Ulimit) error {
	seen := map[string]bool{}
	for _, l := range limits {
		if seen[l.Name] {
			return fmt.Errorf("names %q twice: leave one", l.Name)
		}
		seen[l.Name] = true
	}
	return nil
}

func checkDirs(dirs []string) error {
	for _, d := range dirs {
		if err := checkPath(d); err != nil {
			return fmt.Errorf("%q %w", d, err)
		}
	}
	return nil
}

// checkStreamAddress wants one address of this host. Whoever can read the
// traffic has what is typed and shown in containers, and the URL is all that a
// client needs to have: without TLS it stays on loopback. Every address
// (0.0.0.0, ::) is none that a URL could name.
func checkStreamAddress(address string, tls bool) error {
	a, err := netip.ParseAddrPort(address)
	switch {
	case err != nil:
		return errors.New("is not an address: write IP:PORT, such as 127.0.0.1:0 or [::1]:0")
	case a.Addr().IsUnspecified():
		return errors.New("is every address, and clients are sent to one: name it")
	case !a.Addr().IsLoopback() && !tls:
		return errors.New("is not loopback, and sessions would cross the network in clear: set stream_tls_cert and stream_tls_key, or use 127.0.0.1:0")
	}
	return nil
}

func checkPair(path, other, name string) error {
	switch {
	case path == "" && other != "":
		return fmt.Errorf("is empty: %s needs it", name)
	case path == "":
		return nil
	}
	return checkPath(path)
}
