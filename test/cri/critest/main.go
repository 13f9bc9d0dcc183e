package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"slipway/test/image"
	"slipway/test/leak"
	"slipway/test/machine"
)

// options are the command line.
type options struct {
	report    string
	focus     string
	skip      string
	serve     string
	parallel  int
	seed      int64
	websocket bool
	timeout   time.Duration
}

func parse() options {
	var o options
	flag.StringVar(&o.report, "report", "", "file for the JSON report; the full output goes beside it as .log, JUnit as .xml")
	flag.StringVar(&o.focus, "focus", "", "run only specs that match this regular expression")
	flag.StringVar(&o.skip, "skip", "", "skip specs that match this regular expression too")
	flag.StringVar(&o.serve, "serve", "", "shell command that runs another runtime on $SETUP_SOCKET (see machine.Setup.Env)")
	flag.IntVar(&o.parallel, "parallel", 1, "number of specs that run at the same time")
	flag.Int64Var(&o.seed, "seed", 1, "seed of the order of specs; 0: a new one each time")
	flag.BoolVar(&o.websocket, "websocket", false, "stream over WebSocket instead of SPDY")
	flag.DurationVar(&o.timeout, "timeout", 15*time.Minute, "limit for the whole suite")
	flag.Parse()
	return o
}

func main() {
	o := parse()
	os.Exit(machine.Run(func(ctx context.Context, m *machine.Machine) int {
		ok, err := run(ctx, m, o)
		if err != nil {
			fmt.Fprintln(os.Stderr, "critest:", err)
		}
		if err != nil || !ok {
			return 1
		}
		return 0
	}))
}

// run does everything inside the machine; true means: passed, nothing left.
func run(ctx context.Context, m *machine.Machine, o options) (bool, error) {
	setup, err := m.NewSetup("critest", 1)
	if err != nil {
		return false, err
	}
	if err := serveImages(ctx, setup.Certs); err != nil {
		return false, err
	}
	args, err := setup.Slipway()
	if err != nil {
		return false, err
	}
	if o.serve != "" {
		args = []string{"bash", "-c", "exec " + o.serve}
	}
	scope := leak.Scope{
		Cgroups: machine.Hierarchies(m.Cgroup),
		Dirs:    []string{setup.State, setup.IPAM, filepath.Join(setup.Root, "pods"), filepath.Join(setup.Root, "containers"), filepath.Join(setup.Root, "removing"), "/run/netns"},
		FDs:     o.parallel == 1, // at the same time, more of the keeper's pipes are in use
		Ignore:  allowed,
	}
	outside, err := leak.Take(ctx, scope)
	if err != nil {
		return false, err
	}
	daemon, err := setup.Start(ctx, args, setup.Env(m.Cgroup))
	if err != nil {
		return false, err
	}
	defer daemon.Kill()
	if err := warmUp(ctx, setup.Socket); err != nil {
		return false, fmt.Errorf("run a first pod: %w", err)
	}
	idle, err := leak.Take(ctx, scope)
	if err != nil {
		return false, err
	}
	passed, err := runSuite(ctx, setup, o)
	if err != nil {
		return false, err
	}
	clean, err := leftovers(ctx, setup, daemon, scope, idle, outside)
	if o.report != "" {
		_ = copyFile(setup.Log, withExt(o.report, ".daemon.log"))
	}
	return passed && clean, err
}

// allowed may stay: the network's bridge and what comes with its first pod,
// critest's own shared memory segments, and the empty directories and lock
// files around what is checked.
func allowed(finding string) bool {
	switch {
	case strings.HasPrefix(finding, "firewall: "):
		return !ofOnePod.MatchString(finding)
	case strings.HasPrefix(finding, "mount: "):
		return strings.Contains(finding, "/critest/tmp/") // of failed specs
	}
	return harmless.MatchString(finding)
}

var harmless = regexp.MustCompile(`^(link|address): slip1\b` +
	`|^sysctl: net/(ipv[46]/ip_forward$|bridge/)` +
	`|^ipc: shm ` +
	`|^file: .*/ipam(/test(/lock|/last_reserved_ip\.0)?)?$`)

// ofOnePod: the chains of the CNI plugins for one attachment, and addresses.
var ofOnePod = regexp.MustCompile(`CNI-DN-|CNI-[0-9a-f]{20}|10\.88\.\d+\.\d+\b`)

// serveImages builds the test images and serves them on loopback until ctx
// ends, and points certs there.
func serveImages(ctx context.Context, certs string) error {
	start := time.Now()
	images, err := image.Build(ctx, image.Options{})
	if err != nil {
		return err
	}
	handler, err := image.Handler(images)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(l) }()
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	fmt.Printf("critest: %d images on %s after %.1f s\n", len(images), l.Addr(), time.Since(start).Seconds())
	return image.WriteHosts(certs, l.Addr().String(), image.Hosts()...)
}
