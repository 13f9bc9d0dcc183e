package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // the command line is wrong; nothing was done
)

// command is one subcommand. run gets a flag set whose usage is made from here.
type command struct {
	name  string
	args  string // what follows the flags, as usage shows it
	short string // one line
	run   func(ctx context.Context, std streams, flags *flag.FlagSet, args []string) error
}

func commands() []command {
	return []command{
		{"serve", "", "run the daemon", serve},
		{"import", "FILE...", "load images from tars into the running daemon", importImages},
		{"check", "", "show what this host offers to pods, and what is missing for what", check},
		{"config", "default|dump|check", "show the default settings, show those in force, or check the file", configure},
		{"version", "", "show the version", showVersion},
	}
}

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// errUsage is a command line that cannot be obeyed.
var errUsage = errors.New("wrong usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, streams{os.Stdin, os.Stdout, os.Stderr}, os.Args[1:]))
}

// run carries out one command line and returns the exit code.
func run(ctx context.Context, std streams, args []string) int {
	if len(args) == 0 {
		usage(std.err)
		return exitUsage
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		usage(std.out)
		return exitOK
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.exec(ctx, std, args[1:])
		}
	}
	fmt.Fprintf(std.err, "slipway: there is no command %q\n\n", args[0])
	usage(std.err)
	return exitUsage
}

func (c command) exec(ctx context.Context, std streams, args []string) int {
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.Usage = func() {}
	flags.SetOutput(io.Discard) // it would say each error twice
	err := c.run(ctx, std, flags, args)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, flag.ErrHelp):
		c.help(std.out, flags)
		return exitOK
	}
	fmt.Fprintf(std.err, "slipway %s: %v\n", c.name, err)
	if errors.Is(err, errUsage) {
		fmt.Fprintf(std.err, "slipway %s -h shows the flags\n", c.name)
		return exitUsage
	}
	return exitFailure
}

// help shows one command.
func (c command) help(w io.Writer, flags *flag.FlagSet) {
	fmt.Fprintf(w, "usage: slipway %s [flags] %s\n\n%s\n\n", c.name, c.args, c.short)
	flags.VisitAll(func(f *flag.Flag) {
		value, text := flag.UnquoteUsage(f)
		fmt.Fprintf(w, "  --%s %s\n        %s\n", f.Name, value, text)
	})
}

// parse reads the flags of a command. What is wrong is errUsage.
func parse(flags *flag.FlagSet, args []string) error {
	err := flags.Parse(args)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err
	}
	return fmt.Errorf("%w: %w", errUsage, err)
}

func usage(w io.Writer) {
	fmt.Fprintf(w, "slipway is a container runtime for Kubernetes.\n\nusage: slipway COMMAND [flags]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-10s%s\n", c.name, c.short)
	}
	fmt.Fprintf(w, "\nslipway COMMAND -h shows a command's flags. crictl does the rest.\n")
}
