package oci

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Exec gives the process of an exec in a container made from spec: its
// environment, user, capabilities, limits and working directory with another
// command line and terminal. A terminal gets TERM=xterm where the container
// has none.
func Exec(spec *specs.Spec, cmd []string, tty bool) (*specs.Process, error) {
	if err := checkArgs(cmd); err != nil {
		return nil, err
	}
	p := *spec.Process
	p.Args = slices.Clone(cmd)
	p.Terminal = tty
	p.ConsoleSize = nil
	env := environment(slices.Clone(p.Env))
	if tty && env.index("TERM") < 0 {
		env.set("TERM", "xterm")
	}
	p.Env = env
	return &p, nil
}
