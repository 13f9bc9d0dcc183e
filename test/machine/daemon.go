package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Setup is a directory with everything that a daemon under test is told about.
type Setup struct {
	Dir     string // of all the following
	Socket  string // where it listens: a path
	Root    string // --root
	State   string // --state
	CNIConf string // --cni-conf-dir, holds one bridge network
	CNIBin  string // --cni-bin-dir
	Certs   string // --registry-dir, empty
	IPAM    string // where host-local keeps addresses
	Config  string // --config
	Log     string // what the daemon prints
	Bridge  string // name of the network's bridge
}

// Bin is the directory of the repository's built programs: where this program
// lies, else bin of the working directory's repository.
func Bin() (string, error) {
	for _, dir := range candidates() {
		if _, err := os.Stat(filepath.Join(dir, "cni", "bridge")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("no built programs found: run make build cni")
}

func candidates() []string {
	var dirs []string
	if exe, err := os.Executable(); err == nil {
		dirs = append(dirs, filepath.Dir(exe))
	}
	if wd, err := os.Getwd(); err == nil {
		for d := wd; ; d = filepath.Dir(d) {
			dirs = append(dirs, filepath.Join(d, "bin"))
			if d == filepath.Dir(d) {
				break
			}
		}
	}
	return dirs
}

// NewSetup makes the directories and files of one daemon, below Dir/name. The
// network is 10.88.N.0/24; N tells daemons on one machine apart.
func (m *Machine) NewSetup(name string, n uint8) (*Setup, error) {
	bin, err := Bin()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(m.Dir, name)
	s := &Setup{
		Dir:     dir,
		Socket:  filepath.Join(dir, "cri.sock"),
		Root:    filepath.Join(dir, "root"),
		State:   filepath.Join(dir, "state"),
		CNIConf: filepath.Join(dir, "net.d"),
		CNIBin:  filepath.Join(bin, "cni"),
		Certs:   filepath.Join(dir, "certs.d"),
		IPAM:    filepath.Join(dir, "ipam"),
		Config:  filepath.Join(dir, "config.toml"),
		Log:     filepath.Join(dir, "daemon.log"),
		Bridge:  fmt.Sprintf("slip%d", n),
	}
	for _, d := range []string{s.CNIConf, s.Certs} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	conflist := fmt.Sprintf(network, s.Bridge, n, s.IPAM)
	if err := os.WriteFile(filepath.Join(s.CNIConf, "10-test.conflist"), []byte(conflist), 0o644); err != nil {
		return nil, err
	}
	config := fmt.Sprintf("cgroup_driver = \"cgroupfs\"\ncgroup_parent = %q\n", m.Cgroup)
	return s, os.WriteFile(s.Config, []byte(config), 0o644)
}

// network is a bridge with addresses and host ports, as a small node has it.
const network = `{
  "cniVersion": "1.0.0",
  "name": "test",
  "plugins": [
    {
      "type": "bridge",
      "bridge": %q,
      "isGateway": true,
      "ipMasq": true,
      "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.88.%d.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": %q
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}
  ]
}
`

// Slipway is the command line of a slipway daemon on this setup.
func (s *Setup) Slipway() ([]string, error) {
	bin, err := Bin()
	if err != nil {
		return nil, err
	}
	return []string{
		filepath.Join(bin, "slipway"), "serve",
		"--config", s.Config,
		"--listen", "unix://" + s.Socket,
		"--root", s.Root,
		"--state", s.State,
		"--cni-conf-dir", s.CNIConf,
		"--cni-bin-dir", s.CNIBin,
		"--registry-dir", s.Certs,
		"--log-level", "debug",
	}, nil
}

// Env tells the setup to a command that is not slipway: SETUP_SOCKET,
// SETUP_ROOT and so on.
func (s *Setup) Env(cgroup string) []string {
	return []string{
		"SETUP_DIR=" + s.Dir, "SETUP_SOCKET=" + s.Socket, "SETUP_ROOT=" + s.Root, "SETUP_STATE=" + s.State,
		"SETUP_CNI_CONF=" + s.CNIConf, "SETUP_CNI_BIN=" + s.CNIBin, "SETUP_CERTS=" + s.Certs, "SETUP_CGROUP=" + cgroup,
	}
}

// Daemon is a running daemon under test.
type Daemon struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // of Wait; valid when ended is closed
	log   string
}

// Start runs a daemon and returns when its socket accepts connections.
func (s *Setup) Start(ctx context.Context, args, env []string) (*Daemon, error) {
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	d := &Daemon{cmd: cmd, ended: make(chan struct{}), log: s.Log}
	go func() {
		d.err = cmd.Wait()
		close(d.ended)
	}()
	if err := d.waitSocket(ctx, s.Socket); err != nil {
		_ = d.Kill()
		return nil, fmt.Errorf("%s: %w\n%s", filepath.Base(args[0]), err, Tail(s.Log, 20))
	}
	return d, nil
}

func (d *Daemon) waitSocket(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		c, err := net.Dial("unix", socket)
		if err == nil {
			return c.Close()
		}
		select {
		case <-d.ended:
			return fmt.Errorf("ended before it listened: %w", errors.Join(d.err, fs.ErrClosed))
		case <-ctx.Done():
			return fmt.Errorf("does not listen on %s: %w", socket, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Pid is the daemon's process id.
func (d *Daemon) Pid() int { return d.cmd.Process.Pid }

// Ended is closed when the daemon has ended.
func (d *Daemon) Ended() <-chan struct{} { return d.ended }

// Stop ends the daemon in order (SIGTERM); after 30 s it is killed, which is an
// error, as is a status other than 0.
func (d *Daemon) Stop() error {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.ended:
		if d.err != nil {
			return fmt.Errorf("daemon: %w\n%s", d.err, Tail(d.log, 20))
		}
		return nil
	case <-time.After(30 * time.Second):
		_ = d.Kill()
		return fmt.Errorf("daemon does not end on SIGTERM\n%s", Tail(d.log, 20))
	}
}

// Kill ends the daemon by SIGKILL and waits for its end.
func (d *Daemon) Kill() error {
	_ = d.cmd.Process.Kill()
	<-d.ended
	return nil
}

// Tail returns the last n lines of a file, or why it can't be read.
func Tail(file string, n int) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
