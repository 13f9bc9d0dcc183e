package sandbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"slipway/oci"
	"slipway/sandbox/linux"
)

// shmSize of a pod's /dev/shm in bytes, as containerd has it.
const shmSize = 64 << 20

// makeFiles makes what containers of a pod find in /etc and at /dev/shm. They
// live in the state directory: a reboot, which ends the pod, empties it.
func (p *Pods) makeFiles(s *pod) error {
	if err := os.MkdirAll(p.stateDir(s.id), 0o700); err != nil {
		return err
	}
	hosts, err := readHostFile("/etc/hosts")
	if err != nil {
		return err
	}
	resolv, err := readHostFile("/etc/resolv.conf")
	if err != nil {
		return err
	}
	if resolv, err = oci.ResolvConf(s.config.GetDnsConfig(), resolv); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	name := s.hostname()
	if s.hostNetwork() {
		if name, err = os.Hostname(); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		path string
		data []byte
	}{
		{p.hostsPath(s.id), hosts},
		{p.resolvPath(s.id), resolv},
		{p.hostnamePath(s.id), []byte(name + "\n")},
	} {
		if err := os.WriteFile(f.path, f.data, 0o644); err != nil {
			return err
		}
		if err := s.giveToRoot(f.path); err != nil {
			return err
		}
	}
	if s.hostIPC() {
		return nil
	}
	if err := os.Mkdir(p.shmPath(s.id), 0o700); err != nil {
		return err
	}
	if err := linux.MountTmpfs(p.shmPath(s.id), shmSize, 0o1777); err != nil {
		return err
	}
	return s.giveToRoot(p.shmPath(s.id))
}

// maxHostFile bounds what is copied of the host's /etc, in bytes.
const maxHostFile = 1 << 20

func readHostFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxHostFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxHostFile {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, maxHostFile)
	}
	return b, nil
}

// removeFiles is makeFiles undone; it may be called again.
func (p *Pods) removeFiles(id string) error {
	if err := linux.Unmount(p.shmPath(id)); err != nil {
		return fmt.Errorf("unmount %s: %w", p.shmPath(id), err)
	}
	return os.RemoveAll(p.stateDir(id))
}
