package cni

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/version"
)

// state is what one look at the configuration directory found. It is never
// changed once published.
type state struct {
	conf    *config // nil: none is valid
	bad     []error // files that were skipped, each naming the file
	missing error   // a plugin of conf that is not there, or a plan of conf that cannot work
	err     error   // the directory cannot be read
}

// verdict is the last answer of a configuration's plugins to STATUS.
type verdict struct {
	conf *config
	err  error
}

// report is the form of Config.
type report struct {
	ConfDir    string          `json:"confDir"`
	BinDirs    []string        `json:"binDirs"`
	File       string          `json:"file,omitempty"`
	Network    string          `json:"network,omitempty"`
	CNIVersion string          `json:"cniVersion,omitempty"`
	Config     json.RawMessage `json:"config,omitempty"`
	Bad        []string        `json:"bad,omitempty"`
	Native     bool            `json:"native"`
	NotNative  string          `json:"notNative,omitempty"` // why plugins are run
	PodCIDR    string          `json:"podCIDR,omitempty"`
	NotReady   string          `json:"notReady,omitempty"`
}

func (s *state) ready(dir string) error {
	switch {
	case s.err != nil:
		return fmt.Errorf("%w: %w", ErrNotReady, s.err)
	case s.conf == nil && len(s.bad) > 0:
		return fmt.Errorf("%w: no valid network configuration in %q: %s", ErrNotReady, dir, s.badText())
	case s.conf == nil:
		return fmt.Errorf("%w: no network configuration (*.conflist, *.conf, *.json) in %q", ErrNotReady, dir)
	case s.missing != nil:
		return fmt.Errorf("%w: network %q: %w", ErrNotReady, s.conf.list.Name, s.missing)
	}
	return nil
}

func (s *state) badText() string {
	texts := make([]string, len(s.bad))
	for i, b := range s.bad {
		texts[i] = b.Error()
	}
	return strings.Join(texts, "; ")
}

// probed tells whether the configuration's plugins can be asked for STATUS,
// which came with version 1.1.0. A native plan is known to work or not to.
func (c *config) probed() bool {
	if c.plan != nil {
		return false
	}
	ok, err := version.GreaterThanOrEqualTo(c.list.CNIVersion, "1.1.0")
	return err == nil && ok
}
