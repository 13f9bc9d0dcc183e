package main

import (
	"flag"

	"slipway/conf"
)

// settings are the configuration file and the flags that beat it.
type settings struct {
	file   string // "" is the default one, which may be missing
	values map[string][]string
	flagOf map[string]string // key -> flag, for messages
}

// newSettings adds --config to flags.
func newSettings(flags *flag.FlagSet) *settings {
	s := &settings{values: map[string][]string{}, flagOf: map[string]string{}}
	flags.StringVar(&s.file, "config", "", "configuration `FILE` (default "+conf.DefaultPath+", if it is there)")
	return s
}

// add makes a flag for one key of the configuration.
func (s *settings) add(flags *flag.FlagSet, name, key, usage string) {
	s.flagOf[key] = "--" + name
	flags.Func(name, usage, func(v string) error {
		s.values[key] = []string{v}
		return nil
	})
}

// addList does so for a key that takes several values.
func (s *settings) addList(flags *flag.FlagSet, name, key, usage string) {
	s.flagOf[key] = "--" + name
	flags.Func(name, usage+"; may be repeated", func(v string) error {
		s.values[key] = append(s.values[key], v)
		return nil
	})
}

// addPlaces makes the flags that say where things are.
func (s *settings) addPlaces(flags *flag.FlagSet) {
	s.add(flags, "listen", "listen", "`ADDRESS` of the CRI socket, unix:///PATH")
	s.add(flags, "root", "root", "`DIR` of images, containers and records")
	s.add(flags, "state", "state", "`DIR` of sockets and mount points, which a reboot may empty")
	s.add(flags, "cni-conf-dir", "cni_conf_dir", "`DIR` of network configurations")
	s.addList(flags, "cni-bin-dir", "cni_bin_dirs", "`DIR` of network plugins")
	s.add(flags, "registry-dir", "registry_dir", "`DIR` of mirrors and certificates, HOST/hosts.toml")
}

// load reads the files and lays the flags over them. It does not validate.
func (s *settings) load() (conf.Config, error) {
	path := s.file
	if path == "" {
		path = conf.DefaultPath
	}
	c, err := conf.Load(path, s.file != "")
	if err != nil {
		return conf.Config{}, err
	}
	for key, values := range s.values {
		if err := c.Set(s.flagOf[key], key, values...); err != nil {
			return conf.Config{}, err
		}
	}
	return c, nil
}
