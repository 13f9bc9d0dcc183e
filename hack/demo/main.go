package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"slipway/test/leak"
	"slipway/test/machine"
)

func main() {
	stay := flag.Bool("stay", false, "wait for Enter before tidying up")
	serve := flag.String("serve", "", "shell command that runs another runtime on $SETUP_SOCKET (see machine.Setup.Env)")
	flag.Parse()
	os.Exit(machine.Run(func(ctx context.Context, m *machine.Machine) int {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		if *stay {
			ctx, cancel = context.WithCancel(ctx)
		}
		defer cancel()
		d := &demo{show: newShow(os.Stdout), machine: m, stay: *stay}
		if err := d.run(ctx, *serve); err != nil {
			d.show.failed(err)
			return 1
		}
		d.show.end()
		return 0
	}))
}

// demo is what the steps hand to one another.
type demo struct {
	show    *show
	machine *machine.Machine
	setup   *machine.Setup
	stay    bool
	scope   leak.Scope
	before  leak.Snapshot
	image   string // reference in the loopback registry
	runtime *client
	pod     string
	ctr     string
	address string
}

// run goes through the demo; what it started, it ends, on every way out.
func (d *demo) run(ctx context.Context, serve string) (err error) {
	if d.setup, err = d.machine.NewSetup("demo", 1); err != nil {
		return err
	}
	d.show.title("slipway: one pod, from nothing to nothing, on a machine of its own")
	d.image, err = d.serveRegistry(ctx)
	if err != nil {
		return err
	}
	daemon, err := d.start(ctx, serve)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n\nthe container's log:\n%s\n\nthe daemon's last lines:\n%s", err, machine.Tail(d.logFile(), 10), machine.Tail(d.setup.Log, 15))
			_ = daemon.Kill()
		}
	}()
	if d.runtime, err = dial(d.setup.Socket); err != nil {
		return err
	}
	defer d.runtime.Close()
	for _, step := range []func(context.Context) error{
		d.status, d.look, d.pull, d.runPod, d.startContainer, d.web, d.logs, d.exec, d.stats, d.processes, d.wait, d.remove, d.nothingLeft,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return d.show.step("slipway stops", "kill -TERM "+fmt.Sprint(daemon.Pid()), func() (string, error) {
		return "in order, status 0", daemon.Stop()
	})
}

// start runs the daemon on private directories.
func (d *demo) start(ctx context.Context, serve string) (*machine.Daemon, error) {
	args, err := d.setup.Slipway()
	if err != nil {
		return nil, err
	}
	if serve != "" {
		args = []string{"bash", "-c", "exec " + serve}
	}
	var daemon *machine.Daemon
	err = d.show.step("slipway serve", "slipway serve --listen unix://"+d.setup.Socket+" ...", func() (string, error) {
		daemon, err = d.setup.Start(ctx, args, d.setup.Env(d.machine.Cgroup))
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("pid %d", daemon.Pid()), nil
	})
	return daemon, err
}

// look remembers what the machine looks like before the first pod.
func (d *demo) look(ctx context.Context) (err error) {
	d.scope = leak.Scope{
		Cgroups: machine.Hierarchies(d.machine.Cgroup),
		Dirs:    []string{d.setup.State, d.setup.IPAM, filepath.Join(d.setup.Root, "pods"), filepath.Join(d.setup.Root, "containers"), filepath.Join(d.setup.Root, "removing"), "/run/netns"},
		Ignore:  harmless.MatchString,
	}
	d.before, err = leak.Take(ctx, d.scope)
	return err
}

// harmless is what the reference plugins keep for the next pod: the bridge,
// the chains that all pods share, forwarding, and the address range's lock.
var harmless = regexp.MustCompile(`^(link|address): slip1\b|^firewall: |^sysctl: net/(ipv[46]/ip_forward$|bridge/)|^file: .*/ipam(/test(/lock|/last_reserved_ip\.0)?)?$`)

// wait lets a person look around, if asked to.
func (d *demo) wait(ctx context.Context) error {
	if !d.stay {
		return nil
	}
	d.show.say("Look around from another terminal, as root; Enter goes on:")
	d.show.say("  bin/tools/crictl -r unix://" + d.setup.Socket + " ps      (make tools builds crictl)")
	entered := make(chan struct{})
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		close(entered)
	}()
	select {
	case <-entered:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// nothingLeft compares the machine with what it was before the pod.
func (d *demo) nothingLeft(ctx context.Context) error {
	return d.show.step("nothing is left", "", func() (string, error) {
		left, err := d.before.Settled(ctx, d.scope, 10*time.Second)
		if err != nil {
			return "", err
		}
		if len(left) > 0 {
			return "", errors.New("left behind:\n  " + strings.Join(left, "\n  "))
		}
		return fmt.Sprintf("no mount, namespace, cgroup, address, process or file (%d things compared)", len(d.before)), nil
	})
}
