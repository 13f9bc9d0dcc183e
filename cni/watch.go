package cni

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	lookEvery  = 10 * time.Second      // for what no event tells: plugins that come and go
	settleTime = 50 * time.Millisecond // without a further event: a file is written in steps
	probeLimit = 10 * time.Second      // for STATUS of the whole chain
)

// watch loads the configuration and starts the goroutines that keep it fresh;
// they end with ctx. Without inotify (its instances may be used up) the
// directory is looked at every lookEvery.
func (n *Network) watch(ctx context.Context) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		n.log.Warn("network configuration is polled", "dir", n.confDir, "error", err)
		w = &fsnotify.Watcher{} // its channels are nil and never ready
	} else {
		arm(w, n.confDir)
	}
	n.state.Store(&state{})
	n.look()
	probe := make(chan struct{}, 1)
	probe <- struct{}{}
	n.done.Go(func() { n.follow(ctx, w, probe) })
	n.done.Go(func() { n.prober(ctx, probe) })
}

// follow looks again after events have settled, and every lookEvery.
func (n *Network) follow(ctx context.Context, w *fsnotify.Watcher, probe chan<- struct{}) {
	if w.Events != nil {
		defer w.Close()
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	settled := time.NewTimer(0)
	defer settled.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-w.Events:
			if concerns(e.Name, n.confDir) {
				settled.Reset(settleTime)
			}
			continue
		case <-w.Errors: // an overflow of the queue: something happened
			settled.Reset(settleTime)
			continue
		case <-settled.C:
		case <-tick.C:
		}
		if w.Events != nil {
			arm(w, n.confDir)
		}
		n.look()
		select {
		case probe <- struct{}{}:
		default: // one is waiting already
		}
	}
}

// concerns tells whether a path is the directory, in it, or on the way to it.
func concerns(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/") || strings.HasPrefix(dir, strings.TrimSuffix(path, "/")+"/")
}

// arm watches the directory and the nearest one above it that exists, to see
// it come, go and be replaced. Each watch is made anew: the old one may be of
// a directory that has been moved away.
func arm(w *fsnotify.Watcher, dir string) {
	for _, old := range w.WatchList() {
		_ = w.Remove(old)
	}
	_ = w.Add(dir)
	for up := filepath.Dir(dir); ; up = filepath.Dir(up) {
		if err := w.Add(up); !errors.Is(err, fs.ErrNotExist) || up == "/" {
			return
		}
	}
}

// look publishes what the directory and the plugin directories hold now.
func (n *Network) look() {
	old := n.state.Load()
	s := load(n.confDir, old.conf)
	if s.conf != nil && s.conf != old.conf {
		n.choose(s.conf)
	}
	if s.conf != nil {
		s.missing = n.usable(s.conf)
	}
	n.state.Store(s)
	was, is := old.ready(n.confDir), s.ready(n.confDir)
	for _, b := range s.bad {
		if !strings.Contains(old.badText(), b.Error()) {
			n.log.Warn("network configuration file is invalid", "dir", n.confDir, "error", b)
		}
	}
	switch {
	case is == nil && s.conf != old.conf:
		by := "native"
		if s.conf.why != nil {
			by = "plugins: " + s.conf.why.Error()
		}
		n.log.Info("network configuration loaded", "file", filepath.Join(n.confDir, s.conf.file), "network", s.conf.list.Name, "by", by)
	case is != nil && (was == nil || was.Error() != is.Error()):
		n.log.Warn("network is not ready", "error", is)
	}
}

// prober asks the plugins for STATUS when follow says so. It is a goroutine of
// its own so that a plugin that hangs does not hold up a new configuration.
func (n *Network) prober(ctx context.Context, probe <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-probe:
		}
		c := n.state.Load().conf
		if c == nil || !c.probed() {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, probeLimit)
		err := n.calls("").GetStatusNetworkList(limited, c.list)
		cancel()
		n.verdict.Store(&verdict{conf: c, err: err})
	}
}
