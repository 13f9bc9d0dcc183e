package cni

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
)

// findAll checks that every program of the list can be run.
func (n *Network) findAll(list *libcni.NetworkConfigList) error {
	for _, p := range list.Plugins {
		for _, t := range types(p) {
			if _, err := n.run.FindInPath(t, n.binDirs); err != nil {
				return err
			}
		}
	}
	return nil
}

// FindInPath returns the program of a plugin: the first regular, executable
// file of that name. One that everybody may write to is refused, and so is one
// in a directory of that kind: it would run as root.
func (r *runner) FindInPath(plugin string, dirs []string) (string, error) {
	if !pluginName.MatchString(plugin) {
		return "", fmt.Errorf("plugin type %q is not a bare name", plugin)
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, plugin)
		fi, err := os.Stat(path)
		if err != nil || !fi.Mode().IsRegular() {
			continue
		}
		if fi.Mode()&0o111 == 0 {
			return "", fmt.Errorf("plugin %q is not executable", path)
		}
		if err := refuseOpen(dir, path, fi); err != nil {
			return "", err
		}
		return path, nil
	}
	return "", fmt.Errorf("plugin %q not found in %s", plugin, strings.Join(dirs, ", "))
}

func refuseOpen(dir, path string, file os.FileInfo) error {
	if file.Mode()&0o002 != 0 {
		return fmt.Errorf("plugin %q may be written by everybody: remove that right", path)
	}
	d, err := os.Stat(dir)
	if err != nil {
		return errors.Unwrap(err)
	}
	if d.Mode()&0o002 != 0 && d.Mode()&os.ModeSticky == 0 {
		return fmt.Errorf("plugin directory %q may be written by everybody: remove that right", dir)
	}
	return nil
}
