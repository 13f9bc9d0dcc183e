package main

import (
	"sync/atomic"

	"slipway/conf"
)

// shared is the configuration in force, read by requests while a reload
// replaces it.
type shared struct {
	p atomic.Pointer[conf.Config]
}

func newShared(c conf.Config) *shared {
	s := &shared{}
	s.p.Store(&c)
	return s
}

// shownConfig is the configuration as verbose Status tells it.
type shownConfig struct {
	SandboxImage string   `json:"sandboxImage"` // kubeadm reads it
	Root         string   `json:"root"`
	State        string   `json:"state"`
	CNIConfDir   string   `json:"cniConfDir"`
	CNIBinDirs   []string `json:"cniBinDirs"`
	RegistryDir  string   `json:"registryDir"`
	CgroupParent string   `json:"cgroupParent"`
	LogLevel     string   `json:"logLevel"`

	CDISpecDirs   []string `json:"cdiSpecDirs"`
	StreamAddress string   `json:"streamAddress"`
	Handlers      []string `json:"handlers"`
}

func (s *shared) shown() any {
	c := s.p.Load()
	return shownConfig{
		SandboxImage: c.SandboxImage,
		Root:         c.Root,
		State:        c.State,
		CNIConfDir:   c.CNIConfDir,
		CNIBinDirs:   c.CNIBinDirs,
		RegistryDir:  c.RegistryDir,
		CgroupParent: c.CgroupParent,
		LogLevel:     c.LogLevel,

		CDISpecDirs:   c.CDISpecDirs,
		StreamAddress: c.StreamAddress,
		Handlers:      c.HandlerNames(),
	}
}

// reload reads the configuration again and takes over what can change while
// running. A configuration that is wrong changes nothing.
func (d *daemon) reload() {
	next, err := d.settings.load()
	if err == nil {
		err = next.Validate()
	}
	if err != nil {
		d.log.Error("configuration not reloaded; the old one stays in force", "error", err)
		return
	}
	now, wait := d.config.p.Load().Reload(next)
	d.config.p.Store(&now)
	d.level.Set(now.Level())
	d.log.Info("configuration reloaded", "log_level", now.LogLevel)
	if len(wait) > 0 {
		d.log.Warn("changes that wait for a restart", "keys", wait)
	}
}
