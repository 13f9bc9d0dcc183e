package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/utils"
	"github.com/containernetworking/cni/pkg/version"

	"slipway/cni/native"
)

const configLimit = 1 << 20 // bytes of one configuration file

// pluginName is what a plugin's type may be: a bare name, so that a
// configuration cannot run a program outside the plugin directories
// (CVE-2021-20206).
var pluginName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// config is one loaded configuration, as a list even when the file held a
// single plugin, with every plugin inlined.
type config struct {
	file string
	list *libcni.NetworkConfigList

	plan *native.Plan // nil: the plugins are run
	why  error        // then, the reason
}

// load picks the lexicographically first valid file of dir. An invalid file is
// skipped and named, with one exception: when the file that is in use turns
// invalid, its last good content stays in use. Falling through to the next file
// would move new pods to another network because someone is editing.
func load(dir string, inUse *config) *state {
	names, err := configFiles(dir)
	if err != nil {
		return &state{err: err}
	}
	s := &state{}
	for _, name := range names {
		c, err := loadFile(filepath.Join(dir, name))
		if err != nil {
			s.bad = append(s.bad, fmt.Errorf("%q: %w", name, err))
			if inUse == nil || inUse.file != name {
				continue
			}
			c = inUse
		}
		if inUse != nil && inUse.file == name && bytes.Equal(inUse.list.Bytes, c.list.Bytes) {
			c = inUse
		}
		s.conf = c
		break
	}
	return s
}

// configFiles returns the names to try, in order. Hidden files are skipped:
// they are what editors and installers leave while they write.
func configFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("network configuration: %w", err)
	}
	var names []string
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".conflist", ".conf", ".json":
			if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

func loadFile(path string) (*config, error) {
	data, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	list, err := parse(data)
	if err != nil {
		return nil, err
	}
	if !list.LoadOnlyInlinedPlugins {
		if err := inline(list, filepath.Dir(path)); err != nil {
			return nil, err
		}
	}
	if err := checkList(list); err != nil {
		return nil, err
	}
	return &config{file: filepath.Base(path), list: list}, nil
}

// readConfig reads a regular file within the limit. O_NONBLOCK: opening a FIFO
// must not hang.
func readConfig(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	if !fi.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, configLimit+1))
	if err != nil {
		return nil, err
	}
	if len(data) > configLimit {
		return nil, fmt.Errorf("longer than %d bytes", configLimit)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("empty")
	}
	return data, nil
}

// parse reads a list of plugins, or a single plugin as the list of one. The
// content decides, not the file's extension.
func parse(data []byte) (*libcni.NetworkConfigList, error) {
	var shape struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(data, &shape); err != nil {
		return nil, err
	}
	if shape.Type == "" {
		return libcni.NetworkConfFromBytes(data)
	}
	plugin, err := libcni.NetworkPluginConfFromBytes(data)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(map[string]any{
		"name": plugin.Network.Name, "cniVersion": plugin.Network.CNIVersion,
		"loadOnlyInlinedPlugins": true,
		"plugins":                []json.RawMessage{data},
	})
	if err != nil {
		return nil, err
	}
	return libcni.NetworkConfFromBytes(raw)
}

// inline adds the plugins of the folder named as the network, as version 1.1
// of the specification has it, and rewrites the list's bytes so that they are
// whole without the folder.
func inline(list *libcni.NetworkConfigList, dir string) error {
	if err := utils.ValidateNetworkName(list.Name); err != nil { // it becomes a path
		return err
	}
	more, err := libcni.NetworkPluginConfsFromFiles(dir, list.Name)
	if err != nil || len(more) == 0 {
		return err
	}
	list.Plugins = append(list.Plugins, more...)
	var top map[string]json.RawMessage
	if err := json.Unmarshal(list.Bytes, &top); err != nil {
		return err
	}
	var plugins []json.RawMessage
	for _, p := range list.Plugins {
		plugins = append(plugins, p.Bytes)
	}
	top["loadOnlyInlinedPlugins"] = json.RawMessage("true")
	if top["plugins"], err = json.Marshal(plugins); err != nil {
		return err
	}
	list.Bytes, err = json.Marshal(top)
	return err
}

// checkList holds a list to what can be run. It is asked again for a record
// read back from disk.
func checkList(list *libcni.NetworkConfigList) error {
	if err := utils.ValidateNetworkName(list.Name); err != nil {
		return err
	}
	if v := list.CNIVersion; v != "" && !slices.Contains(version.All.SupportedVersions(), v) {
		return fmt.Errorf("cniVersion %q is not one of %s", v, strings.Join(version.All.SupportedVersions(), ", "))
	}
	if len(list.Plugins) == 0 {
		return errors.New("no plugins")
	}
	for _, p := range list.Plugins {
		for _, t := range types(p) {
			if !pluginName.MatchString(t) {
				return fmt.Errorf("plugin type %q is not a bare name", t)
			}
		}
	}
	return nil
}

// types returns the programs that a plugin's configuration names: its own and
// its address manager's.
func types(p *libcni.PluginConfig) []string {
	if p.Network.IPAM.Type == "" {
		return []string{p.Network.Type}
	}
	return []string{p.Network.Type, p.Network.IPAM.Type}
}
