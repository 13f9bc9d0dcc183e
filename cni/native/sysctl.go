package native

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
)

// setSysctl writes a value under /proc/sys/net, of the namespace of this
// thread, unless it is there already.
func setSysctl(name, value string) error {
	path := "/proc/sys/net/" + name
	if old, err := os.ReadFile(path); err == nil && string(bytes.TrimSpace(old)) == value {
		return nil
	}
	// No O_CREATE: a missing one is an error that names it.
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// tryIPv6 sets a value that does not matter where IPv6 is switched off.
func tryIPv6(name, value string) error {
	if err := setSysctl("ipv6/"+name, value); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
