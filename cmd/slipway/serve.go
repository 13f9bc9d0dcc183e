package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"slipway/conf"
	"slipway/server"
)

// stopTime is how long requests under way get at the end. What they began
// goes on in its room; what was left half made, the next start undoes.
const stopTime = 10 * time.Second

// serve runs the daemon until ctx ends.
func serve(ctx context.Context, std streams, flags *flag.FlagSet, args []string) error {
	s := newSettings(flags)
	s.addPlaces(flags)
	s.add(flags, "log-level", "log_level", "`LEVEL`: debug, info, warn or error")
	if err := parse(flags, args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%w: unexpected %q", errUsage, flags.Arg(0))
	}
	c, err := s.load()
	if err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return err
	}
	// Modes are given where files are made; a shell's umask must not change
	// what containers may read of theirs.
	syscall.Umask(0o022)

	level := &slog.LevelVar{}
	level.Set(c.Level())
	d := &daemon{settings: s, config: newShared(c), level: level, manager: notifySocket()}
	d.log = newLog(std.err, c.LogFormat, level)
	return d.run(ctx, c)
}

func newLog(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// daemon is one run of serve.
type daemon struct {
	settings *settings
	config   *shared // as it is in force
	level    *slog.LevelVar
	log      *slog.Logger
	manager  string // socket of the service manager, "" without one
}

// run serves from start to orderly end. The socket is made first: a client
// that is early waits in its queue until all is found again.
func (d *daemon) run(ctx context.Context, c conf.Config) (err error) {
	start := time.Now()
	hangup := make(chan os.Signal, 1) // from here on it ends nobody
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	held, err := lockDirs(c.Root, c.State)
	if err != nil {
		return err
	}
	defer held.release()

	listener, err := server.Listen(server.ListenOptions{Address: c.Listen, Group: c.SocketGroup, Own: c.State, Log: d.log})
	if err != nil {
		return err
	}
	defer listener.Close() // for the ways out before Serve, which closes it

	r, err := open(ctx, c, d.log, d.config.shown)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()

	d.log.Info("serving", "version", version, "listen", c.Listen, "root", c.Root, "state", c.State,
		"pid", os.Getpid(), "took", time.Since(start).Round(time.Millisecond))
	notify(d.manager, "READY=1")
	return d.serve(ctx, r.server, listener, hangup)
}

// serve answers until ctx ends or the socket fails, and reloads on a hangup.
func (d *daemon) serve(ctx context.Context, s *server.Server, l net.Listener, hangup <-chan os.Signal) error {
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	for {
		select {
		case err := <-ended:
			return err
		case <-hangup:
			notify(d.manager, "RELOADING=1")
			d.reload()
			notify(d.manager, "READY=1")
		case <-ctx.Done():
			notify(d.manager, "STOPPING=1")
			d.log.Info("stopping; containers go on")
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
			defer cancel()
			s.Stop(stop)
			return <-ended
		}
	}
}
