package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/pkg/parser"
	cdispec "tags.cncf.io/container-device-interface/specs-go"

	"slipway/oci"
)

// Limits of the descriptions of CDI devices.
const (
	maxCDIFile  = 16 << 20 // bytes
	maxCDIFiles = 1000     // in one directory
)

// cdiDevices finds CDI devices in the files that their vendors leave in a few
// directories. They are looked at whenever a container asks for a device, and
// read again when they have changed: no watcher, no restart. A bad file costs
// only the devices in it.
type cdiDevices struct {
	dirs []string // the later wins
	log  *slog.Logger

	mu    sync.Mutex // guards files, over reading them
	files map[string]*cdiFile
}

// cdiFile is one file as it was when it was last read.
type cdiFile struct {
	path    string
	at      fileTime
	kind    string // vendor/class
	edits   cdispec.ContainerEdits
	devices map[string]cdispec.ContainerEdits
	err     error // why it is of no use
}

// fileTime tells a file from another or a changed one.
type fileTime struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
}

func newCDI(dirs []string, log *slog.Logger) *cdiDevices {
	return &cdiDevices{dirs: dirs, log: log, files: map[string]*cdiFile{}}
}

// devicesOf gives what is to be done for the CDI devices that a container asks for.
func (p *Pods) devicesOf(cfg *cri.ContainerConfig) ([]oci.DeviceEdits, error) {
	names, err := oci.CDIDevices(cfg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return p.cdi.edits(names)
}

// edits gives what is to be done for devices, in order, by their full names:
// what a file says for all of its devices once, before the first of them.
// ErrInvalid names the first that is not known, and what is.
func (c *cdiDevices) edits(names []string) ([]oci.DeviceEdits, error) {
	if len(names) == 0 {
		return nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	files := c.refresh()
	var all []oci.DeviceEdits
	seen := map[*cdiFile]bool{}
	for _, name := range names {
		f, err := c.find(files, name)
		if err != nil {
			return nil, err
		}
		if !seen[f] {
			seen[f] = true
			all = append(all, oci.DeviceEdits{From: fmt.Sprintf("devices of %q", f.path), Edits: f.edits})
		}
		_, device, _ := strings.Cut(name, "=")
		all = append(all, oci.DeviceEdits{From: fmt.Sprintf("device %q of %q", name, f.path), Edits: f.devices[device]})
	}
	return all, nil
}

// find gives the file with a device: of the last directory that has it. Two in
// one directory contradict each other, and nobody can tell which is meant.
func (c *cdiDevices) find(files [][]*cdiFile, name string) (*cdiFile, error) {
	kind, device, _ := strings.Cut(name, "=")
	for _, dir := range slices.Backward(files) {
		var found *cdiFile
		for _, f := range dir {
			if _, ok := f.devices[device]; !ok || f.kind != kind {
				continue
			}
			if found != nil {
				return nil, fmt.Errorf("CDI device %q: both %q and %q describe it: %w", name, found.path, f.path, ErrInvalid)
			}
			found = f
		}
		if found != nil {
			return found, nil
		}
	}
	return nil, c.unknown(files, kind, name)
}

// unknown says what there is instead.
func (c *cdiDevices) unknown(files [][]*cdiFile, kind, name string) error {
	if len(c.dirs) == 0 {
		return fmt.Errorf("CDI device %q: cdi_spec_dirs of the configuration is empty: %w", name, ErrInvalid)
	}
	like := map[string]bool{}
	var bad []string
	for _, f := range slices.Concat(files...) {
		if f.err != nil {
			bad = append(bad, fmt.Sprintf("%q: %v", f.path, f.err))
		}
		if f.kind == kind {
			for d := range f.devices {
				like[kind+"="+d] = true
			}
		}
	}
	text := fmt.Sprintf("CDI device %q is not known in %s", name, strings.Join(c.dirs, ", "))
	if len(like) > 0 {
		known := slices.Sorted(maps.Keys(like))
		text += "; known are " + strings.Join(known[:min(len(known), 10)], ", ")
	}
	if len(bad) > 0 {
		text += "; not usable: " + strings.Join(bad[:min(len(bad), 5)], "; ")
	}
	return fmt.Errorf("%s: %w", text, ErrInvalid)
}

// refresh looks at all directories, and gives what the files in each say.
func (c *cdiDevices) refresh() [][]*cdiFile {
	was := c.files
	c.files = map[string]*cdiFile{}
	var all [][]*cdiFile
	for _, dir := range c.dirs {
		var files []*cdiFile
		for _, path := range c.list(dir) {
			f := c.files[path]
			if f == nil { // not yet seen: two directories may be one
				f = readCDI(path, was[path])
				c.files[path] = f
				if f.err != nil && f != was[path] {
					c.log.Warn("a description of CDI devices is not usable", "file", path, "error", f.err)
				}
			}
			files = append(files, f)
		}
		all = append(all, files)
	}
	return all
}

// list gives the files of one directory, sorted. A directory that is not there
// is one without devices.
func (c *cdiDevices) list(dir string) []string {
	d, err := os.Open(dir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.log.Warn("CDI devices", "error", err)
		}
		return nil
	}
	defer d.Close()
	names, err := d.Readdirnames(maxCDIFiles)
	if err != nil && len(names) == 0 {
		return nil
	}
	var paths []string
	for _, name := range names {
		if ext := filepath.Ext(name); ext == ".json" || ext == ".yaml" {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	slices.Sort(paths)
	return paths
}

// readCDI reads a file, unless it is as it was.
func readCDI(path string, was *cdiFile) *cdiFile {
	f := &cdiFile{path: path}
	text, at, err := readChanged(path, was)
	if err == nil && text == nil {
		return was
	}
	f.at = at
	if err == nil {
		err = f.parse(text)
	}
	if err != nil {
		f.devices, f.err = nil, err
		if was != nil && was.err != nil && was.err.Error() == err.Error() {
			return was // known, and logged
		}
	}
	return f
}

// readChanged reads a regular file; O_NONBLOCK, so that a FIFO does not hang
// it. Nothing, and no error, when it is what was read before.
func readChanged(path string, was *cdiFile) ([]byte, fileTime, error) {
	fd, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fileTime{}, err
	}
	defer fd.Close()
	info, err := fd.Stat()
	if err != nil {
		return nil, fileTime{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return nil, fileTime{}, errors.New("not a regular file")
	}
	if info.Size() > maxCDIFile {
		return nil, fileTime{}, fmt.Errorf("larger than %d bytes", maxCDIFile)
	}
	at := fileTime{dev: st.Dev, ino: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim}
	if was != nil && was.at == at {
		return nil, at, nil
	}
	text := make([]byte, info.Size())
	n, err := fd.ReadAt(text, 0)
	if n < len(text) {
		return nil, fileTime{}, fmt.Errorf("cut short while it was read: %w", err)
	}
	return text, at, nil
}

// parse checks a file as those who define the format do, and for what would
// make their own checks fall over: entries that are null.
func (f *cdiFile) parse(text []byte) error {
	spec, err := cdi.ParseSpec(text)
	if err != nil {
		return err
	}
	if spec == nil {
		return errors.New("empty")
	}
	if err := checkNulls(spec); err != nil {
		return err
	}
	if err := cdispec.ValidateVersion(spec); err != nil {
		return err
	}
	vendor, class := parser.ParseQualifier(spec.Kind)
	if err := errors.Join(parser.ValidateVendorName(vendor), parser.ValidateClassName(class)); err != nil {
		return fmt.Errorf("kind %q: %w", spec.Kind, err)
	}
	if err := (&cdi.ContainerEdits{ContainerEdits: &spec.ContainerEdits}).Validate(); err != nil {
		return err
	}
	f.kind, f.edits = spec.Kind, spec.ContainerEdits
	f.devices = map[string]cdispec.ContainerEdits{}
	for i, d := range spec.Devices {
		if err := parser.ValidateDeviceName(d.Name); err != nil {
			return fmt.Errorf("device %d: %w", i, err)
		}
		if _, twice := f.devices[d.Name]; twice {
			return fmt.Errorf("device %q: described twice", d.Name)
		}
		if err := (&cdi.ContainerEdits{ContainerEdits: &d.ContainerEdits}).Validate(); err != nil {
			return fmt.Errorf("device %q: %w", d.Name, err)
		}
		f.devices[d.Name] = d.ContainerEdits
	}
	if len(f.devices) == 0 {
		return errors.New("no devices")
	}
	return nil
}

func checkNulls(spec *cdispec.Spec) error {
	all := []cdispec.ContainerEdits{spec.ContainerEdits}
	for _, d := range spec.Devices {
		all = append(all, d.ContainerEdits)
	}
	for _, e := range all {
		if slices.Contains(e.DeviceNodes, nil) || slices.Contains(e.Mounts, nil) || slices.Contains(e.Hooks, nil) || slices.Contains(e.NetDevices, nil) {
			return errors.New("an entry of containerEdits is null")
		}
	}
	return nil
}
