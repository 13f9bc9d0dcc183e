package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"

	"slipway/conf"
)

// configure shows or checks the settings; it neither needs nor asks a running
// daemon.
func configure(_ context.Context, std streams, flags *flag.FlagSet, args []string) error {
	s := newSettings(flags)
	if err := parse(flags, args); err != nil {
		return err
	}
	verb := flags.Arg(0)
	if flags.NArg() > 0 { // flags may stand behind the verb too
		if err := parse(flags, flags.Args()[1:]); err != nil {
			return err
		}
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%w: unexpected %q", errUsage, flags.Arg(0))
	}
	switch verb {
	case "default":
		if s.file != "" {
			return fmt.Errorf("%w: the defaults are in no file; leave --config out", errUsage)
		}
		_, err := std.out.Write(conf.Default().TOML())
		return err
	case "dump":
		c, err := s.load()
		if err == nil {
			_, err = std.out.Write(c.Dump())
		}
		return err
	case "check":
		return s.check(std.out)
	case "":
		return fmt.Errorf("%w: say default, dump or check", errUsage)
	}
	return fmt.Errorf("%w: %q is none of default, dump, check", errUsage, verb)
}

// check says in one line what was looked at when all is well.
func (s *settings) check(w io.Writer) error {
	c, err := s.load()
	if err == nil {
		err = c.Validate()
	}
	if err != nil {
		return err
	}
	if len(c.Files()) == 0 {
		_, err = fmt.Fprintf(w, "ok: there is no %s; the defaults hold\n", conf.DefaultPath)
		return err
	}
	set := 0
	for _, k := range conf.Keys() {
		if c.Origin(k) != "" {
			set++
		}
	}
	keys := "keys"
	if set == 1 {
		keys = "key"
	}
	_, err = fmt.Fprintf(w, "ok: %s: %d %s set, the defaults for the rest\n", strings.Join(c.Files(), ", "), set, keys)
	return err
}
