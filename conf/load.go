package conf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/pelletier/go-toml/v2"
)

const fileLimit = 1 << 20 // bytes

// Load reads the file at path and its drop-ins over the defaults. A missing
// file is an error (fs.ErrNotExist) only with mustExist. The result is not yet
// validated.
func Load(path string, mustExist bool) (Config, error) {
	c := Default()
	c.origin = map[string]string{}
	err := c.merge(path)
	if errors.Is(err, fs.ErrNotExist) && !mustExist {
		err = nil
	}
	if err != nil {
		return Config{}, err
	}
	more, err := dropIns(path + ".d")
	if err != nil {
		return Config{}, err
	}
	for _, file := range more {
		if err := c.merge(file); err != nil {
			return Config{}, err
		}
	}
	return c, nil
}

// dropIns returns the files of a drop-in directory in order.
func dropIns(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("config drop-ins: %w", err)
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() && filepath.Ext(e.Name()) == ".toml" && !strings.HasPrefix(e.Name(), ".") {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(files)
	return files, nil
}

// merge lays one file over what is set.
func (c *Config) merge(path string) error {
	data, err := readFile(path)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	var any map[string]any
	if err := toml.Unmarshal(data, &any); err != nil { // no TOML, or a key twice
		return syntaxError(path, err)
	}
	if err := (&document{c: c, path: path}).read(data); err != nil {
		return err
	}
	c.files = append(c.files, path)
	return nil
}

// readFile reads a regular file; O_NONBLOCK, so that a FIFO does not hang it.
func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, fileLimit+1))
	if err == nil && len(data) > fileLimit {
		err = fmt.Errorf("%s: longer than %d bytes", path, fileLimit)
	}
	return data, err
}
