package cni

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containernetworking/cni/libcni"

	"slipway/cni/native"
)

var (
	// ErrNotReady says that there is no usable network configuration, or that
	// a plugin it names is missing.
	ErrNotReady = errors.New("network not ready")
	// ErrInvalid says that the caller's input cannot be passed to a plugin.
	ErrInvalid = errors.New("invalid")
)

const defaultTimeout = 60 * time.Second

// Options says where things are. ConfDir, BinDirs and CacheDir are absolute
// paths and required.
type Options struct {
	ConfDir  string        // *.conflist, *.conf, *.json; may be missing
	BinDirs  []string      // searched in this order
	CacheDir string        // one directory a pod; libcni keeps the last result there
	Log      *slog.Logger  // nil: slog.Default
	Timeout  time.Duration // for one ADD or DEL of the whole chain; 0: 60 s
	Native   bool          // do the work of the plugins in process where it can be done; see cni/native
}

// Network is the pod network of this node. All methods may be called at the
// same time.
type Network struct {
	confDir  string
	binDirs  []string
	cacheDir string
	timeout  time.Duration
	log      *slog.Logger
	run      *runner

	native    *native.Network
	useNative bool // for new pods; who was attached natively is detached so anyway

	state   atomic.Pointer[state]   // what the configuration directory holds
	verdict atomic.Pointer[verdict] // the last answer to STATUS
	podCIDR atomic.Pointer[string]

	stop context.CancelFunc
	done sync.WaitGroup // the watcher and the prober
}

// New reads the configuration directory once and then watches it until Close.
// A directory that is missing, empty or full of bad files is not an error
// here; Status tells.
func New(o Options) (*Network, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	n := &Network{
		confDir: filepath.Clean(o.ConfDir), binDirs: o.BinDirs, cacheDir: o.CacheDir,
		timeout: o.Timeout, log: o.Log, run: &runner{log: o.Log}, useNative: o.Native,
	}
	var err error
	if n.native, err = native.New(o.Log); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.watch(ctx)
	return n, nil
}

func (o Options) check() error {
	dirs := append([]string{o.ConfDir, o.CacheDir}, o.BinDirs...)
	for _, d := range dirs {
		if !filepath.IsAbs(d) {
			return fmt.Errorf("network directory %q: %w: not an absolute path", d, ErrInvalid)
		}
	}
	if len(o.BinDirs) == 0 {
		return fmt.Errorf("plugin directories: %w: none given", ErrInvalid)
	}
	for _, d := range o.BinDirs {
		// CNI_PATH is separated by colons: such a directory would be two others.
		if strings.ContainsAny(d, ":\x00") {
			return fmt.Errorf("plugin directory %q: %w: holds a colon", d, ErrInvalid)
		}
	}
	return nil
}

// Close stops watching. Calls of plugins that are under way go on.
func (n *Network) Close() error {
	n.stop()
	n.done.Wait()
	return n.native.Close()
}

// Status returns nil when a pod can be attached, and otherwise an error that
// is ErrNotReady and names the directory, file or plugin at fault. It answers
// from memory.
func (n *Network) Status(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s := n.state.Load()
	if err := s.ready(n.confDir); err != nil {
		return err
	}
	if !s.conf.probed() {
		return nil
	}
	v := n.verdict.Load()
	if v == nil || v.conf != s.conf {
		return fmt.Errorf("%w: network %q has not answered STATUS yet", ErrNotReady, s.conf.list.Name)
	}
	if v.err != nil {
		return fmt.Errorf("%w: network %q: %w", ErrNotReady, s.conf.list.Name, v.err)
	}
	return nil
}

// SetPodCIDR takes the node's pod address ranges, comma-separated, as the
// kubelet tells them. There is no configuration template yet, so they are kept
// and shown by Config and change nothing. Ranges that do not parse are dropped
// with a warning.
func (n *Network) SetPodCIDR(cidrs string) {
	for c := range strings.SplitSeq(cidrs, ",") {
		if _, err := netip.ParsePrefix(strings.TrimSpace(c)); cidrs != "" && err != nil {
			n.log.Warn("pod address range ignored", "cidrs", cidrs, "error", err)
			return
		}
	}
	n.podCIDR.Store(&cidrs)
}

// Config describes the configuration in use, for verbose status. The result
// encodes as JSON.
func (n *Network) Config() any {
	r := report{ConfDir: n.confDir, BinDirs: n.binDirs}
	if c := n.podCIDR.Load(); c != nil {
		r.PodCIDR = *c
	}
	s := n.state.Load()
	for _, b := range s.bad {
		r.Bad = append(r.Bad, b.Error())
	}
	if s.conf != nil {
		r.File, r.Network, r.CNIVersion = s.conf.file, s.conf.list.Name, s.conf.list.CNIVersion
		r.Config, r.Native = s.conf.list.Bytes, s.conf.plan != nil
		if s.conf.why != nil {
			r.NotNative = s.conf.why.Error()
		}
	}
	if err := n.Status(context.Background()); err != nil {
		r.NotReady = err.Error()
	}
	return r
}

// calls returns libcni with a cache directory that only this pod uses, so that
// forgetting a pod is removing a directory.
func (n *Network) calls(podID string) *libcni.CNIConfig {
	return libcni.NewCNIConfigWithCacheDir(n.binDirs, filepath.Join(n.cacheDir, podID), n.run)
}
