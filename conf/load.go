package conf

import (
	"bytes"
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
	"github.com/pelletier/go-toml/v2/unstable"
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
	d := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return decodeError(path, data, err)
	}
	for name, line := range lines(data) {
		c.origin[name] = fmt.Sprintf("%s:%d", path, line)
	}
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

// lines tells on which line each key is set. The document is known to parse.
func lines(data []byte) map[string]int {
	found := map[string]int{}
	var p unstable.Parser
	p.Reset(data)
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.KeyValue {
			continue
		}
		if it := e.Key(); it.Next() {
			n := it.Node()
			found[string(n.Data)] = p.Shape(n.Raw).Start.Line
		}
	}
	return found
}

// decodeError gives each fault its file, line and key.
func decodeError(path string, data []byte, err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) {
		var all []error
		for _, e := range unknown.Errors {
			line, _ := e.Position()
			name := strings.Join(e.Key(), ".")
			all = append(all, fmt.Errorf("%s:%d: unknown key %q%s", path, line, name, hint(name)))
		}
		return errors.Join(all...)
	}
	var bad *toml.DecodeError
	if errors.As(err, &bad) {
		line, _ := bad.Position()
		text := strings.TrimPrefix(bad.Error(), "toml: ")
		if name := keyAt(data, line, bad.Key()); name != "" {
			text = name + ": " + text
		}
		return fmt.Errorf("%s:%d: %s", path, line, text)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// keyAt finds the key that a fault belongs to: the one the decoder names, else
// the last one that begins at or before the line.
func keyAt(data []byte, line int, named toml.Key) string {
	if len(named) > 0 {
		return strings.Join(named, ".")
	}
	name, at := "", 0
	for k, l := range lines(data) {
		if l <= line && l > at {
			name, at = k, l
		}
	}
	return name
}
