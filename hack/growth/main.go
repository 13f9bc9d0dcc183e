package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == "measure":
		err = measureCommand(ctx, os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "plot":
		err = plotCommand(os.Args[2:])
	default:
		err = errors.New("usage: growth measure or growth plot, see the package comment")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "growth:", err)
		os.Exit(1)
	}
}

func measureCommand(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("measure", flag.ExitOnError)
	var l lab
	var specs []string
	flags.Func("runtime", "`NAME=ENDPOINT` of a runtime; may be repeated", func(s string) error {
		specs = append(specs, s)
		return nil
	})
	matches := map[string]string{}
	flags.Func("match", "`NAME=REGEXP` of the command lines that belong to a runtime, for memory", func(s string) error {
		name, pattern, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("want NAME=REGEXP")
		}
		matches[name] = pattern
		return nil
	})
	pods := flags.String("pods", "1,10,100,500", "`numbers` of pods, ascending")
	flags.StringVar(&l.image, "image", "127.0.0.1:5070/bench/busybox:latest", "`image` with a sleep and a true")
	flags.IntVar(&l.samples, "n", 10, "`samples` at each number of pods")
	note := flags.String("note", "", "what else is to be known of this run")
	out := flags.String("o", "", "result `file`")
	_ = flags.Parse(args)
	if *out == "" || len(specs) == 0 || l.samples < 1 {
		return errors.New("-runtime and -o are needed, and -n of at least 1")
	}
	for s := range strings.SplitSeq(*pods, ",") {
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("number of pods: %w", err)
		}
		l.pods = append(l.pods, n)
	}
	for _, s := range specs {
		name, endpoint, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("runtime %q: want NAME=ENDPOINT", s)
		}
		r, err := connect(name, endpoint, matches[name])
		if err != nil {
			return err
		}
		defer r.conn.Close()
		l.runtimes = append(l.runtimes, r)
	}
	result, err := l.run(ctx)
	if err != nil {
		return err
	}
	result.Note = *note
	data, err := json.MarshalIndent(result, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(*out, append(data, '\n'), 0o644)
}

func plotCommand(args []string) error {
	flags := flag.NewFlagSet("plot", flag.ExitOnError)
	out := flags.String("o", "", "picture, an SVG `file`")
	_ = flags.Parse(args)
	if *out == "" || flags.NArg() != 1 {
		return errors.New("usage: growth plot -o FILE.svg FILE")
	}
	data, err := os.ReadFile(flags.Arg(0))
	if err != nil {
		return err
	}
	var r result
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("%s: %w", flags.Arg(0), err)
	}
	if r.Version != version {
		return fmt.Errorf("%s: version %d, want %d", flags.Arg(0), r.Version, version)
	}
	return os.WriteFile(*out, []byte(draw(&r)), 0o644)
}
